"""Training through ``torch.compile``."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from accelerate import Accelerator
from torch import Tensor

from egat_hub.engine.sharding import is_sharded
from egat_hub.methods import Method
from egat_hub.methods.cost import count_passes


@contextmanager
def compiling(method: Method, batch: dict[str, Tensor], accelerator: Accelerator) -> Iterator[None]:
    """The network of ``method`` compiled for as long as this lasts; see :meth:`Backbone.compiled`.

    Args:
        method: on its device.
        batch: some images to train on, for a step of a copy that is counted.
        accelerator: of the run.

    Raises:
        ValueError: a method that takes second derivatives of the network, or sharded parameters.
    """
    if is_sharded(accelerator):
        raise ValueError("Parameters that FSDP shards are not compiled. Leave out train.compile or FSDP.")
    device, mask = accelerator.device, batch.get("mask")
    passes = count_passes(
        copy.deepcopy(method).train(),
        batch["image"].to(device),
        batch["label"].to(device),
        mask=None if mask is None else mask.to(device),
    )
    if passes.through_backward:
        raise ValueError(
            f"A step of {type(method).__name__} takes second derivatives of the network, which torch.compile "
            "does not have. Leave out train.compile."
        )
    with method.backbone.compiled():
        yield
