"""One set of BatchNorm statistics for all processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn

from egat_hub.collective import world_size
from egat_hub.modes import is_batchnorm


@torch.no_grad()
def average_statistics(model: nn.Module) -> None:
    """Average running means and variances over all processes, in place.

    Data-parallel training starts each step from the main process's statistics, and every process adds its
    own images. This makes them one again before they are used.
    """
    if world_size() == 1:
        return
    for module in model.modules():
        if is_batchnorm(module):
            for statistic in (module.running_mean, module.running_var):
                if statistic is not None:
                    dist.all_reduce(statistic)
                    statistic /= world_size()


@torch.no_grad()
def share_statistics(model: nn.Module) -> None:
    """Take the main process's running statistics, in place, as ``DistributedDataParallel`` does a step."""
    if world_size() == 1:
        return
    for module in model.modules():
        if is_batchnorm(module):
            for statistic in (module.running_mean, module.running_var, module.num_batches_tracked):
                if statistic is not None:
                    dist.broadcast(statistic, 0)
