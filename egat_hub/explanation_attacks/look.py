"""What a user sees of a batch: predictions, and the maps that explain them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from egat_hub.backbone import Backbone
from egat_hub.explanations import Explanation, dead


class Look(NamedTuple):
    """Predictions and their maps.

    Attributes:
        logits: [B,C].
        predicted: [B], the class of the highest logit, or the one that was asked for.
        maps: [B,h,w], signed, of that class; their positive part is what is shown.
    """

    logits: Tensor
    predicted: Tensor
    maps: Tensor

    @classmethod
    def at(
        cls, backbone: Backbone, explanation: Explanation, images: Tensor, classes: Tensor | None = None
    ) -> Look:
        """Look at ``images`` [B,3,H,W]; maps are those of ``classes`` [B], by default of the predicted ones.

        Cost: one forward and one explanation.
        """
        view = backbone.view(images)
        predicted = view.logits.argmax(1) if classes is None else classes
        return cls(view.logits, predicted, explanation.of(backbone, view, predicted))

    @property
    def alive(self) -> Tensor:
        """Which maps show anything at all, as a boolean [B]."""
        return ~dead(self.maps.relu())

    def where(self, condition: Tensor, other: Look) -> Look:
        """This look where ``condition`` [B] holds, else the other one."""
        parts = [
            torch.where(condition.view(-1, *[1] * (mine.ndim - 1)), mine, theirs)
            for mine, theirs in zip(self, other, strict=True)
        ]
        return Look(*parts)
