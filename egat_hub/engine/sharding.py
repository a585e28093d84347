"""Training with parameters that are sharded over processes (FSDP2)."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from accelerate import Accelerator, DistributedType
from torch import Tensor
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy
from torch.distributed.tensor import DTensor

from egat_hub.backbone import Backbone
from egat_hub.collective import world_size
from egat_hub.engine.batchnorm import average_statistics
from egat_hub.methods import Method


class Network:
    """The network that is validated and kept, whole on every process.

    Where parameters are sharded, that is a copy which their values are gathered into: a part of a sharded
    module must not be called by itself, and processes measure different numbers of batches.

    Args:
        method: before it is prepared.
        accelerator: what will prepare it.
    """

    def __init__(self, method: Method, accelerator: Accelerator) -> None:
        self._method = method
        self._device = accelerator.device
        self._copy = copy.deepcopy(method.backbone) if is_sharded(accelerator) else None

    @contextmanager
    def validated(self) -> Iterator[Backbone]:
        """The average of the weights if there is one, else the weights; every process calls this."""
        average: Any = self._method.get_trainable_module(ema=True)
        own: Backbone = self._method.backbone if average is None else average.module
        average_statistics(own)
        if self._copy is None:
            yield own
            return
        self._copy.load_state_dict({name: _whole(value) for name, value in own.state_dict().items()})
        yield self._copy.to(self._device)
        self._copy.cpu()

    def kept(self, weights: dict[str, Tensor]) -> Backbone:
        """The network with given weights, in eval mode."""
        backbone = self._method.backbone if self._copy is None else self._copy.to(self._device)
        backbone.load_state_dict(weights)
        return backbone.eval()


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether parameters are sharded over processes."""
    return accelerator.distributed_type == DistributedType.FSDP


def prepare_sharding(accelerator: Accelerator) -> None:
    """Leave precision to autocast where parameters are sharded, and refuse what methods cannot work with.

    Raises:
        ValueError: FSDP with settings that are not supported, or where Accelerate would ignore it.
    """
    if not is_sharded(accelerator):
        if world_size() > 1 and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
            raise ValueError(
                "FSDP is asked for, and Accelerate does not shard on this kind of device. Use one "
                "without it, such as recipes/accelerate/two_cpus.yaml."
            )
        return
    plugin: Any = accelerator.state.fsdp_plugin
    faults = []
    if getattr(plugin, "fsdp_version", 1) != 2:
        faults.append("fsdp_version: 2 (version 1 hides the parameters that explanations read)")
    if plugin.auto_wrap_policy is not None:
        faults.append(
            "fsdp_auto_wrap_policy: NO_WRAP (attacks differentiate in the middle of a step, where a layer "
            "that is sharded by itself lets its weights go)"
        )
    if plugin.activation_checkpointing:
        faults.append("fsdp_activation_checkpointing: false")
    if isinstance(plugin.cpu_offload, CPUOffloadPolicy):
        faults.append("fsdp_offload_params: false")
    if accelerator.mixed_precision == "fp16":
        faults.append("mixed_precision: bf16")
    if faults:
        raise ValueError(
            f"Methods train under FSDP with these settings of Accelerate only: {'; '.join(faults)}. See "
            "recipes/accelerate/fsdp.yaml."
        )
    plugin.mixed_precision_policy = MixedPrecisionPolicy()


def precision(accelerator: Accelerator) -> AbstractContextManager[Any]:
    """Autocast for a step; Accelerate sees to it for all but sharded modules."""
    return accelerator.autocast() if is_sharded(accelerator) else nullcontext()


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value
