"""Training on several processes: FSDP, and BatchNorm statistics."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedType
from torch import Tensor, nn
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy
from torch.distributed.tensor import DTensor

from egat_hub.core.distributed import world_size
from egat_hub.methods import Method
from egat_hub.models import TimmModel
from egat_hub.models.train_mode import is_batchnorm


@torch.no_grad()
def average_statistics(model: nn.Module) -> None:
    """Average running means and variances over all processes, in place.

    In data-parallel training, each step starts from the main process's statistics, and every process updates
    them with its own images.
    """
    for statistic in _statistics(model, "running_mean", "running_var"):
        dist.all_reduce(statistic)
        statistic /= world_size()


@torch.no_grad()
def share_statistics(model: nn.Module) -> None:
    """Copy the main process's running statistics, in place, as ``DistributedDataParallel`` does."""
    for statistic in _statistics(model, "running_mean", "running_var", "num_batches_tracked"):
        dist.broadcast(statistic, 0)


def _statistics(model: nn.Module, *names: str) -> list[Tensor]:
    """Statistics of the BatchNorm layers; none in a single process."""
    layers = [layer for layer in model.modules() if world_size() > 1 and is_batchnorm(layer)]
    found = [getattr(layer, name) for layer in layers for name in names]
    return [statistic for statistic in found if statistic is not None]


class Network:
    """The network that is validated and saved, with full weights in every process.

    With sharded parameters this is a copy that weights are gathered into, because a part of a sharded module
    must not be called alone, and processes evaluate different numbers of batches. Create it before Accelerate
    prepares the method.
    """

    def __init__(self, method: Method, accelerator: Accelerator) -> None:
        self._method = method
        self._device = accelerator.device
        self._copy: TimmModel | None = None
        if is_sharded(accelerator):
            _ = method.model.probe, getattr(method, "foldable", None)  # needs full weights
            self._copy = copy.deepcopy(method.model)

    @contextmanager
    def validated(self) -> Iterator[TimmModel]:
        """Context with the averaged weights, if there are any; every process calls this."""
        average: Any = self._method.get_trainable_module(ema=True)
        own: TimmModel = self._method.model if average is None else average.module
        average_statistics(own)
        if self._copy is None:
            yield own
            return
        self._copy.load_state_dict(
            {
                name: value.full_tensor() if isinstance(value, DTensor) else value
                for name, value in own.state_dict().items()
            }
        )
        yield self._copy.to(self._device)
        self._copy.cpu()

    def kept(self, weights: dict[str, Tensor]) -> TimmModel:
        """The network with given weights, in eval mode."""
        network = self._method.model if self._copy is None else self._copy.to(self._device)
        network.load_state_dict(weights)
        return network.eval()


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether parameters are sharded over processes."""
    return accelerator.distributed_type == DistributedType.FSDP


def prepare_sharding(accelerator: Accelerator) -> None:
    """Check the settings of FSDP, and leave precision to autocast.

    Raises:
        ValueError: unsupported settings, or a device where Accelerate ignores FSDP.
    """
    if not is_sharded(accelerator):
        if world_size() > 1 and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
            raise ValueError(
                "Accelerate does not support FSDP on this device. Use a configuration "
                "without it, such as recipes/accelerate_configs/two_cpus.yaml."
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
            f"FSDP needs these settings of Accelerate: {'; '.join(faults)}. See "
            "recipes/accelerate_configs/fsdp.yaml."
        )
    plugin.mixed_precision_policy = MixedPrecisionPolicy()
