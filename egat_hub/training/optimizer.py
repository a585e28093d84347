"""The optimizer of a run: learning rates by layer, weight decay by kind of parameter."""

from __future__ import annotations

from typing import Any

from timm.optim import create_optimizer_v2
from torch import nn
from torch.optim import Optimizer

from egat_hub.core.distributed import world_size
from egat_hub.methods import Method
from egat_hub.training.config import TrainConfig, Transfer


def create_optimizer(method: Method, config: TrainConfig, transfer: Transfer | None = None) -> Optimizer:
    """Create the optimizer of ``method``.

    Raises:
        ValueError: a batch size that cannot be divided, an optimizer that timm does not know, or a warm-up
            that does not end before training does.
    """
    transfer = transfer or Transfer()
    transfer.check(config.steps)
    parts = world_size() * config.accumulation
    if config.batch_size % parts:
        raise ValueError(
            f"batch_size counts all images of a step and must divide by processes x accumulation, got "
            f"{config.batch_size} for {world_size()} x {config.accumulation}. Use "
            f"{-(-config.batch_size // parts) * parts}."
        )
    return create_optimizer_v2(_groups(method, config, transfer), opt=config.optimizer, lr=config.lr)


def _groups(method: Method, config: TrainConfig, transfer: Transfer) -> list[dict[str, Any]]:
    """Parameters by learning rate and weight decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    undecayed, scales = method.no_weight_decay(), transfer.lr_scales(method.model)
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim > 1 and name not in undecayed and not name.endswith(".bias")
            scale = method.lr_scale(name) * scales.get(parameter, 1.0)
            key = config.lr * scale, config.weight_decay if decayed else 0.0
            groups.setdefault(key, []).append(parameter)
    return [{"params": found, "lr": lr, "weight_decay": decay} for (lr, decay), found in groups.items()]
