"""How a network that has learned before is trained further."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from timm.optim import param_groups_layer_decay
from torch import nn

from egat_hub.backbone import Backbone


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What becomes of the layers below the head; the defaults train them like all others.

    The head is the last layer of the network, as timm's ``get_classifier`` gives it.

    Attributes:
        layer_decay: learning rate of a layer relative to that of the next one towards the head, by timm's
            grouping of layers.
        head_warmup: first steps, in which of the network the head alone is trained. BatchNorm keeps its
            statistics. A step costs what it costs later.
        freeze_backbone: train the head alone, in all steps; BatchNorm keeps its statistics.

    Raises:
        ValueError: a number out of its range, or a frozen backbone with settings of how it is trained.
    """

    layer_decay: float = 1.0
    head_warmup: int = 0
    freeze_backbone: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"Expected layer_decay in (0, 1], got {self.layer_decay}; 1 is none.")
        if self.head_warmup < 0:
            raise ValueError(f"Expected head_warmup of at least 0 steps, got {self.head_warmup}.")
        if self.freeze_backbone and (self.head_warmup or self.layer_decay < 1):
            raise ValueError(
                "A frozen backbone is not trained after a head_warmup, nor with a layer_decay; leave these "
                "out, or freeze_backbone."
            )

    def check(self, steps: int) -> None:
        """Refuse a warm-up that does not end before training does.

        Raises:
            ValueError: with the remedy.
        """
        if self.head_warmup >= steps:
            raise ValueError(
                f"Expected a head_warmup shorter than training, got {self.head_warmup} of {steps} steps. To "
                "train the head alone, use freeze_backbone."
            )

    def lr_scales(self, backbone: Backbone) -> dict[nn.Parameter, float]:
        """Learning rates that ``layer_decay`` gives the network's parameters, relative to that of the run."""
        if self.layer_decay == 1:
            return {}
        groups = param_groups_layer_decay(backbone.net, layer_decay=self.layer_decay)
        return {parameter: group["lr_scale"] for group in groups for parameter in group["params"]}

    @contextmanager
    def applied(self, backbone: Backbone) -> Iterator[None]:
        """A frozen backbone takes no gradients inside."""
        freeze_bn = backbone.freeze_bn
        frozen = [p for p in body(backbone) if p.requires_grad] if self.freeze_backbone else []
        for parameter in frozen:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            backbone.freeze_bn = freeze_bn
            for parameter in frozen:
                parameter.requires_grad_(True)


def body(backbone: Backbone) -> list[nn.Parameter]:
    """All parameters of a network but those of its head."""
    head = set(backbone.classifier.parameters())
    return [parameter for parameter in backbone.parameters() if parameter not in head]
