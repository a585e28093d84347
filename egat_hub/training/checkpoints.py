"""Atomic checkpoints."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor

PROGRESS, BEST = "progress.json", "best.safetensors"


@dataclass
class Progress:
    """Progress of a training run.

    Attributes:
        network: description of network, method and training, which a checkpoint must match.
        classes: class names in label order, which a checkpoint must match.
        images: digest of the names of the domain's images.
        step: number of optimizer steps done.
        seconds: time spent in these steps.
        best_step: step with the best validation accuracy so far, in percent, and the weights at that step.
    """

    network: str
    classes: list[str] = field(default_factory=list)
    images: str = ""
    step: int = 0
    seconds: float = 0.0
    best_step: int = -1
    best_accuracy: float = -1.0
    best: dict[str, Tensor] = field(default_factory=dict, repr=False)


def check_data(what: str, stored: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that the ``classes`` are still the same, and warn if the ``images`` are not.

    Raises:
        ValueError: other classes.
    """
    if stored["classes"] != now["classes"]:
        raise ValueError(
            f"The {what} has the classes {', '.join(stored['classes'])}; the data set now has "
            f"{', '.join(now['classes'])}. Restore the class folders, or choose another output folder."
        )
    if stored["images"] != now["images"]:
        warnings.warn(
            f"The images have changed since the {what} began: images that it was trained on may be among its "
            "test images now. Start a new run in another output folder.",
            stacklevel=3,
        )


class Checkpoints:
    """The latest checkpoint of a run, in ``folder``.

    A checkpoint contains the state of Accelerate's prepared objects, the progress and the best weights, and
    is written atomically.
    """

    def __init__(self, folder: Path, accelerator: Accelerator) -> None:
        self.folder = folder
        self._accelerator = accelerator

    def save(self, progress: Progress) -> None:
        """Write a checkpoint and remove older ones; every process calls this."""
        partial = self.folder / "partial"
        if self._accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        self._accelerator.wait_for_everyone()
        self._accelerator.save_state(str(partial))
        self._accelerator.wait_for_everyone()
        if self._accelerator.is_main_process:
            save_file(progress.best, partial / BEST)
            record = {key: value for key, value in asdict(progress).items() if key != "best"}
            (partial / PROGRESS).write_text(json.dumps(record))
            place = self.folder / f"step_{progress.step:08d}"
            shutil.rmtree(place, ignore_errors=True)
            partial.rename(place)
            for other in self._all():
                if other != place:
                    shutil.rmtree(other)
        self._accelerator.wait_for_everyone()

    def resume(self, start: Progress) -> Progress:
        """Load the latest checkpoint into the prepared objects; without one, return ``start``, step 0.

        Raises:
            ValueError: the checkpoint is of another network, method, config or sharding, or of other classes.
        """
        newest = max(self._all(), default=None)
        if newest is None:
            return start
        progress = Progress(**json.loads((newest / PROGRESS).read_text()))
        if progress.network != start.network:
            raise ValueError(
                f"The checkpoint in {newest} is of {progress.network}, and this run trains {start.network}. "
                "Choose another output folder, or remove the checkpoint."
            )
        check_data(f"checkpoint in {newest}", vars(progress), vars(start))
        progress.images = start.images
        self._accelerator.load_state(str(newest))
        progress.best = load_file(newest / BEST)
        return progress

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step_*"))
