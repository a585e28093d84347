"""A prediction and the reason for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from egat_hub.overlay import overlay


@dataclass(frozen=True, eq=False)
class Explained:
    """A prediction and the reason for it.

    Attributes:
        label: name of the class that is explained.
        probability: the class's probability, in [0, 1].
        probabilities: probability of every class by name; they sum to 1.
        saliency: [H,W] in [0,1] on the CPU, the map upsampled to the image.
        image: what the network saw, H x W pixels.
        dead: the map is constant, so it says nothing.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float]
    saliency: Tensor
    image: Image.Image
    dead: bool

    def overlay(self, alpha: float = 0.5) -> Image.Image:
        """The saliency map over the image; ``alpha`` is the map's share, in [0, 1]."""
        return overlay(self.image, self.saliency, alpha=alpha)
