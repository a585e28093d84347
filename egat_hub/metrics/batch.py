"""A batch of images under evaluation, control maps, and fills of removed pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from egat_hub.core.metric import is_correct
from egat_hub.core.randomness import SampleRandom
from egat_hub.core.registry import Registry
from egat_hub.explanations import EXPLANATIONS, Explanation
from egat_hub.models import TimmModel
from egat_hub.models.timm_model import View

Control = Callable[[Tensor, SampleRandom], Tensor]
"""(maps of the model [B,h,w], random numbers) -> maps of the same shape."""

CONTROLS: Registry[Control] = Registry("controls")


@CONTROLS.register("random")
def random(maps: Tensor, draws: SampleRandom) -> Tensor:
    """Uniform noise at the resolution of the map."""
    return draws.uniform(maps, 0, 1, "control")


@CONTROLS.register("centre")
def centre(maps: Tensor, draws: SampleRandom) -> Tensor:
    """A Gaussian in the centre; its standard deviation is a quarter of the side."""
    y, x = (torch.linspace(-2, 2, side).to(maps) for side in maps.shape[-2:])
    return torch.exp(-(y[:, None].square() + x.square()) / 2).expand_as(maps)


Fill = Callable[[TimmModel, Tensor, SampleRandom], Tensor]
"""(model, images [B,3,H,W] in [0,1], random numbers) -> values of removed pixels."""

FILLS: Registry[Fill] = Registry("fills")


@FILLS.register("mean")
def mean(model: TimmModel, images: Tensor, random: SampleRandom) -> Tensor:
    """The mean colour of the network's normalization, zero at its first layer."""
    return model.mean.to(images).expand_as(images)


@FILLS.register("black")
def black(model: TimmModel, images: Tensor, random: SampleRandom) -> Tensor:
    """Black pixels."""
    return torch.zeros_like(images)


@FILLS.register("blur")
def blur(model: TimmModel, images: Tensor, random: SampleRandom) -> Tensor:
    """The blurred image: Gaussian, kernel 11, sigma 5 (as in the insertion metric of DRE)."""
    return gaussian_blur(images, [11, 11], [5.0, 5.0])


@FILLS.register("noise")
def noise(model: TimmModel, images: Tensor, random: SampleRandom) -> Tensor:
    """Uniform noise in [0, 1], one draw per image for all maps and shares."""
    return random.uniform(images, 0, 1, "fill")


Target = Literal["predicted", "label"]
"""The class whose map is evaluated: the ``"predicted"`` one of the clean image, or its ``"label"``."""


class Maps(NamedTuple):
    """Classes [B], their probabilities [B], and their signed saliency maps [B,h,w]."""

    classes: Tensor
    probability: Tensor
    maps: Tensor


@dataclass(frozen=True, eq=False)
class EvaluationBatch:
    """A batch with results that several metrics share, computed at most once.

    Maps are signed: a ReLU would make many pixels equal, and a top region larger than the positive part of a
    map would then be filled up in arbitrary order.

    Attributes:
        model: images in [0,1] to logits, in eval mode; explanations need a :class:`TimmModel`.
        images: [B,3,H,W] in [0,1].
        labels: true classes [B].
        random: random numbers of these images.
        masks: objects of the images [B,1,H,W] in [0,1], if there are any.
        explanation: name of an explanation, or None for metrics of the logits only.
        chunk: images per forward.
    """

    model: nn.Module
    images: Tensor
    labels: Tensor
    random: SampleRandom
    masks: Tensor | None = None
    explanation: str | None = None
    chunk: int = 64

    @cached_property
    def view(self) -> View:
        """The clean forward pass."""
        if isinstance(self.model, TimmModel) and self.explanation is not None:
            return self.model.view(self.images)
        return View(self.images, self.images, self.model(self.images))

    @property
    def logits(self) -> Tensor:
        """Clean logits [B,C]."""
        return self.view.logits

    @cached_property
    def correct(self) -> Tensor:
        """Which clean images are classified correctly [B]."""
        return is_correct(self.logits, self.labels)

    @cached_property
    def network(self) -> TimmModel | None:
        """The model, or None if it has no map that its logits depend on."""
        if not isinstance(self.model, TimmModel) or self.explanation is None:
            return None
        return None if self.model.head_form == "independent" else self.model

    @cached_property
    def explain(self) -> Explanation:
        """The explanation, of signed maps."""
        assert self.explanation is not None
        return EXPLANATIONS[self.explanation](relu=False, normalize="none")

    @cached_property
    def predicted(self) -> Maps:
        """Maps of the predicted classes."""
        return self._maps(self.logits.argmax(1))

    @cached_property
    def _labelled(self) -> Maps:
        return self._maps(self.labels)

    def of(self, target: Target) -> Maps:
        """Maps of the target classes."""
        return self.predicted if target == "predicted" else self._labelled

    def with_controls(self, maps: Tensor) -> dict[str, Tensor]:
        """The model's maps and control maps, by name."""
        return {"model": maps, **{name: CONTROLS[name](maps, self.random) for name in CONTROLS}}

    def attacked(self) -> Tensor:
        """Which images are attacked [B]: the correct ones, or all if there are none."""
        return self.correct if self.correct.any() else ~self.correct

    def spread(self, chosen: Tensor, values: Tensor) -> Tensor:
        """Values of the chosen images as values [B] of all, NaN elsewhere."""
        spread = torch.full(self.correct.shape, torch.nan, device=self.correct.device)
        spread[chosen] = values
        return spread

    def _maps(self, classes: Tensor) -> Maps:
        assert isinstance(self.model, TimmModel)
        probability = self.logits.float().softmax(1).gather(1, classes[:, None])[:, 0]
        return Maps(classes, probability, self.explain.of(self.model, self.view, classes))
