"""The input gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from egat_hub.backbone import Backbone, View
from egat_hub.explanations.base import EXPLANATIONS
from egat_hub.explanations.pixel_gradient import PixelGradient


@EXPLANATIONS.register("input_gradient")
@dataclass(frozen=True, kw_only=True)
class InputGradient(PixelGradient):
    """Absolute gradient of the logit with respect to pixels, averaged over channels (Simonyan et al. 2014).

    Cost: one forward, one backward to the input; in training one double backward.
    """

    signed: ClassVar[bool] = False

    def raw(self, backbone: Backbone, view: View, target: Tensor) -> Tensor:
        slope = self.slope(backbone, view.images, target)
        return self.placed(backbone, view, slope.abs().mean(1))
