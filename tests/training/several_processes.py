"""What each of several processes sees of training and evaluation, written to FOLDER/<world size>_<rank>_*.

python -m torch.distributed.run --standalone --nproc_per_node 2 -m tests.training.several_processes FOLDER
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn

from egat_hub.core.distributed import gather_objects, join_processes, rank, world_size
from egat_hub.core.results import write_rows
from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.hub import save_pretrained
from egat_hub.methods import METHODS
from egat_hub.methods.losses import Mixup
from egat_hub.training import loop as training
from egat_hub.training.sharding import average_statistics
from tests.helpers.training import fit, method, network, same, view
from tests.training.sharded import sharded

ODD = {61: 7, 5: 4, 3: 8}
"""Number of images and batch size: a ragged last batch, a batch for one process alone."""


FEW = ("erm", "egat")
"""Methods that four processes train."""

SHARDED = ("pgd_at", "trades", "egat", "batchnorm", "average")
"""What two processes also train with parameters that are sharded over them."""

SETTINGS: dict[str, dict[str, Any]] = {
    **{name: {} for name in METHODS},
    "batchnorm": {"method": "egat", "groupnorm": False},
    "compiled": {"method": "pgd_at", "compile": True},
    "accumulated": {"method": "erm", "accumulation": 2},
    "average": {"method": "erm", "groupnorm": False, "ema_decay": 0.6, "accumulation": 2, "clip_grad": 0.5},
}
"""What is trained: a method, whether its network is without BatchNorm, and the configuration."""


def train_and_record(name: str, folder: Path, *, prefix: str = "") -> None:
    """Weights and rows of every validation, one a step."""
    settings = {"steps": 4, "validate_every": 1, "optimizer": "sgd", "lr": 0.02, **SETTINGS[name]}
    chosen, groupnorm = settings.pop("method", name), settings.pop("groupnorm", True)
    if world_size() == 1:
        settings.pop("accumulation", None)
    states: dict[str, torch.Tensor] = {}
    rows: list[Any] = []
    partners: list[torch.Tensor] = []

    def recorded(backbone: nn.Module, *args: Any, **kwargs: Any) -> Any:
        step = len(rows)
        states.update({f"{step} {key}": value.clone() for key, value in backbone.state_dict().items()})
        rows.append(evaluate(backbone, *args, **kwargs))
        return rows[-1]

    draw = Mixup.draw.__func__

    def drawn(cls: type[Mixup], *args: Any, **kwargs: Any) -> Mixup:
        mixup = draw(cls, *args, **kwargs)
        partners.append(mixup.partner)
        return mixup

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "evaluate", recorded)
        patch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
        patch.setattr(Mixup, "draw", classmethod(drawn))
        ours = method(chosen, network(groupnorm=groupnorm))
        trained = fit(ours, folder / f"{prefix}{world_size()}_{name}", **settings)
    states |= {f"best {key}": value for key, value in trained.model.state_dict().items()}
    if partners:
        states["partners"] = torch.stack(partners)
    save_file(states, folder / f"{prefix}{world_size()}_{rank()}_{name}.safetensors")
    written = folder / f"{prefix}{world_size()}_{rank()}_{name}.json"
    write_rows(written, [row for found in rows for row in found])


def hand_over(folder: Path) -> None:
    """A run that two processes begin, four go on with and one ends."""
    steps = {2: 2, 4: 3, 1: 4}[world_size()]
    settings = {"validate_every": 1, "optimizer": "sgd", "lr": 0.02}
    trained = fit(method("egat", network(groupnorm=True)), folder / "handed_over", steps=steps, **settings)
    if world_size() == 1:
        save_file(trained.model.state_dict(), folder / "handed_over.safetensors")


def train_in_shards(folder: Path) -> None:
    """With parameters that are sharded: whole runs, and one in two parts that is exported."""
    with sharded():
        for name in SHARDED:
            train_and_record(name, folder, prefix="sharded")
        parts, whole = (
            [
                fit(method("egat", network()), folder / name, steps=steps, validate_every=2, ema_decay=0.6)
                for steps in stops
            ][-1]
            for name, stops in (("parts", (2, 4)), ("whole", (4,)))
        )
        with pytest.raises(ValueError, match="FSDP cannot restore"):
            fit(method("pgd_at", network(), training_attack="warm"), folder / "refused")
    assert same(parts.model.state_dict(), whole.model.state_dict())
    if rank() == 0:
        save_file(whole.model.state_dict(), folder / "whole.safetensors")
        save_pretrained(whole.model, folder / "exported", label_names=list("abcde"), metadata={}, rows=[])


def evaluate_model(folder: Path) -> None:
    config = {"epsilons": (0.01, 0.03), "restarts": 2, "attack_options": {"steps": 2}}
    for count, batch_size in ODD.items():
        data = [
            (item["image"], int(item["label"])) for item in map(view("all", 70).__getitem__, range(count))
        ]
        rows = evaluate(network(), data, EvaluationConfig(batch_size=batch_size, **config))
        write_rows(folder / f"{world_size()}_{rank()}_rows{count}.json", rows)
    config = EvaluationConfig(epsilons=(0.01,), attack_options={"steps": 2}, batch_size=5, checks=7)
    with pytest.MonkeyPatch.context() as patch:
        if world_size() == 1:  # it has nothing left to do but to join what two have measured
            patch.setattr(sys.modules[evaluate.__module__], "measure", _never)
        rows = evaluate(network(), view("all", 70), config, journal=folder / "journal")
    write_rows(folder / f"{world_size()}_{rank()}_journal.json", rows)


def _never(*args: Any, **options: Any) -> Any:
    raise AssertionError("a batch that is in the journal was measured again")


def average(folder: Path) -> None:
    """Running statistics of 1 and 3 in the main process, and of 2 and 4 in the other one."""
    model = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm1d(2, track_running_stats=False))
    model[0].running_mean.fill_(1.0 + rank())
    model[0].running_var.fill_(3.0 + rank())
    average_statistics(model)
    found = [model[0].running_mean[0].item(), model[0].running_var[1].item()]
    assert gather_objects(found) == [found] * world_size()
    assert found == ([1.5, 3.5] if world_size() == 2 else [1.0, 3.0])


def main(folder: Path) -> None:
    join_processes()
    torch.set_num_threads(1)
    for name in FEW if world_size() == 4 else SETTINGS:
        train_and_record(name, folder)
    hand_over(folder)
    if world_size() < 4:
        evaluate_model(folder)
        average(folder)
    if world_size() == 2:
        train_in_shards(folder)
    if dist.is_initialized():
        dist.barrier()  # or the process that is still in its last exchange may wait for ever
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
