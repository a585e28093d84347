"""A run that fine-tunes."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch

from egat_hub.backbone import Backbone
from egat_hub.config import to_dict
from egat_hub.engine import Transfer
from egat_hub.experiments.cell import Cell
from egat_hub.finetuning.base import Base
from egat_hub.finetuning.head import new_head
from egat_hub.hub.loading import resize
from egat_hub.methods import METHODS, Method
from egat_hub.randomness import derive_seed

TOLD = ("method", "dataset", "train_domain", "seed", "selection")
"""What the card says of how the model came to be that was fine-tuned."""


@dataclass(frozen=True, kw_only=True)
class TunedCell(Cell):
    """As :class:`Cell`, from weights that are there.

    Attributes:
        base: the model to start from.
        tuning: how the layers below the head are trained.
        keeps_head: whether the head stays, because it knows the classes of the data, in their order.
    """

    base: Base
    tuning: Transfer
    keeps_head: bool

    @property
    def settings(self) -> dict[str, Any]:
        started = {"base": self.base.weights, "keeps_head": self.keeps_head}
        return {**super().settings, **started, "transfer": to_dict(self.tuning)}

    @property
    def transfer(self) -> Transfer:
        return self.tuning

    def build(self, num_classes: int) -> Method:
        """The method around a copy of the base's network; new heads of a seed are the same."""
        torch.manual_seed(derive_seed(self.seed, "weights"))
        backbone, size = copy.deepcopy(self.base.backbone), self.data.image_size
        if not self.keeps_head:
            new_head(backbone, num_classes)
        if size != backbone.image_size:
            resize(backbone.net, size)
        tuned = Backbone(backbone.net, image_size=size, freeze_bn=bool(self.model.freeze_bn))
        return METHODS[self.variant.method](tuned, self.variant.config, seed=self.seed)

    def origin(self, backbone: Backbone) -> dict[str, Any]:
        told = {key: self.base.metadata[key] for key in TOLD if key in self.base.metadata}
        head = "kept" if self.keeps_head else "new"
        origin = {
            "base_model": self.base.name,
            "base": {**told, "weights": self.base.weights, "head": head},
            "transfer": to_dict(self.tuning),
        }
        arguments = self.base.metadata.get("model_args")
        return {**origin, "model_args": arguments} if arguments else origin
