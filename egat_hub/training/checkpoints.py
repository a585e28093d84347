"""Atomic checkpoints."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path

from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor

PROGRESS = "progress.json"
BEST = "best.safetensors"


@dataclass
class Progress:
    """Progress of a training run.

    Attributes:
        network: description of network, method and training, which a checkpoint must match.
        classes: class names in label order, which a checkpoint must match.
        images: digest of the names of the domain's images; a warning is issued if it differs.
        sharded: whether parameters are sharded over processes.
        step: number of optimizer steps done.
        seconds: time spent in these steps.
        best_step: step with the best validation accuracy so far.
        best_accuracy: that accuracy in percent.
        best: weights at that step.
    """

    network: str
    classes: list[str] = field(default_factory=list)
    images: str = ""
    sharded: bool = False
    step: int = 0
    seconds: float = 0.0
    best_step: int = -1
    best_accuracy: float = -1.0
    best: dict[str, Tensor] = field(default_factory=dict, repr=False)


class Checkpoints:
    """The latest checkpoint of a run, in ``folder``.

    A checkpoint contains Accelerate's state, the progress and the best weights, and is written atomically.

    Args:
        folder: folder of the checkpoints.
        accelerator: the Accelerator that prepared the objects to save.
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
        """Load the latest checkpoint into the prepared objects; without one, return ``start``.

        Args:
            start: progress at step 0 of the run to resume.

        Raises:
            ValueError: the checkpoint is of another network, method or config, of other classes, or differs
                in sharding.
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
        if progress.classes != start.classes:
            raise ValueError(
                f"The checkpoint in {newest} has the classes {', '.join(progress.classes)}; the data set now "
                f"has {', '.join(start.classes)}. Restore the class folders, or remove the checkpoint."
            )
        if progress.images != start.images:
            warnings.warn(
                f"The images have changed since the checkpoint in {newest}: images that it was trained on "
                "may be among the test images now. Remove the checkpoint to start over.",
                stacklevel=3,
            )
            progress.images = start.images
        if progress.sharded != start.sharded:
            way = "with" if progress.sharded else "without"
            raise ValueError(
                f"The checkpoint in {newest} was written {way} FSDP. Resume with the configuration of "
                "Accelerate that the run began with, or remove the checkpoint."
            )
        self._accelerator.load_state(str(newest))
        progress.best = load_file(newest / BEST)
        return progress

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step_*"))
