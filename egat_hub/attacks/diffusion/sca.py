"""The semantic-consistent unrestricted attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.attacks.base import Attack, AttackResult, Objective
from egat_hub.attacks.diffusion.model import Inversion, LatentDiffusion, invert, noise_levels, resize
from egat_hub.core.randomness import SampleRandom


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """A prompt for every image, from the name of its true class or from a captioner.

    Attributes:
        label_names: one name a class, in the order of the logits; underscores are read as spaces.
        template: sentence with one ``{}`` for the name.
        captioner: images [B,3,H,W] in [0,1] to B captions, in place of names.

    Raises:
        ValueError: a template without a place for the name.
    """

    label_names: tuple[str, ...] = ()
    template: str = "a photo of a {}"
    captioner: Callable[[Tensor], Sequence[str]] | None = None

    def __post_init__(self) -> None:
        if self.template.count("{}") != 1:
            raise ValueError(f"Expected a template with one {{}} for the class name, got {self.template!r}.")

    def __call__(self, images: Tensor, labels: Tensor) -> list[str]:
        """A prompt for each of the images [B,3,H,W] in [0,1] with true classes ``labels`` [B].

        Raises:
            ValueError: neither names nor a captioner, or a class without a name.
        """
        if self.captioner is not None:
            return list(self.captioner(images))
        if not self.label_names:
            raise ValueError(
                "Expected descriptions of the images: give label_names or a captioner to Prompts."
            )
        if len(labels) and int(labels.max()) >= len(self.label_names):
            raise ValueError(
                f"Expected a name for class {int(labels.max())}, got {len(self.label_names)} label_names."
            )
        return [self.template.format(self.label_names[label].replace("_", " ")) for label in labels.tolist()]

    @property
    def source(self) -> str:
        """Where prompts come from, as result rows note it."""
        return "captioner" if self.captioner is not None else self.template


class Classified(NamedTuple):
    """Logits [B,C], cross-entropy [B] and, if asked for, the gradient of its sum [B,c,h,w], else zeros."""

    logits: Tensor
    loss: Tensor
    gradient: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedClassifier:
    """Latents to images of the size, type and device that the classifier expects, and to its logits.

    Attributes:
        diffusion: decodes the latents.
        model: images in [0,1] to logits.
        like: images [B,3,H,W] as the model expects them.
        batch: latents that are decoded at once.
    """

    diffusion: LatentDiffusion
    model: nn.Module
    like: Tensor
    batch: int

    def images(self, latents: Tensor) -> Tensor:
        """Latents [B,c,h,w] to images [B,3,H,W] in [0,1], without gradients."""
        with torch.no_grad():
            return torch.cat([self._image(part) for part in latents.split(self.batch)])

    def classify(self, latents: Tensor, labels: Tensor, *, gradient: bool) -> Classified:
        """Classify latents [B,c,h,w]. Cost: one decoding each, and a backward for the gradient.

        Raises:
            FloatingPointError: the gradient is not finite.
        """
        parts = [
            self._classify(some, true, gradient)
            for some, true in zip(latents.split(self.batch), labels.split(self.batch), strict=True)
        ]
        found = Classified(*(torch.cat(values).to(latents.device) for values in zip(*parts, strict=True)))
        if not torch.isfinite(found.gradient).all():
            raise FloatingPointError(
                "SCA met a gradient that is not finite: parameters or outputs of the classifier or of the "
                "autoencoder are not finite. If the autoencoder is in bfloat16, try float32."
            )
        return found

    def _classify(self, latents: Tensor, labels: Tensor, gradient: bool) -> Classified:
        with torch.set_grad_enabled(gradient):
            latents = latents.detach().requires_grad_(gradient)
            logits = self.model(self._image(latents))
            loss = F.cross_entropy(logits, labels.to(logits.device), reduction="none")
            found = torch.autograd.grad(loss.sum(), latents)[0] if gradient else torch.zeros_like(latents)
        return Classified(logits.detach(), loss.detach(), found)

    def _image(self, latents: Tensor) -> Tensor:
        images = resize(self.diffusion.decode(latents), *self.like.shape[-2:])
        return images.to(self.like).clamp(0, 1)  # rounding may leave [0, 1]


@torch.no_grad()
def latent_ascent(
    path: Inversion,
    classifier: DecodedClassifier,
    labels: Tensor,
    epsilon: float,
    *,
    steps: int,
    length: float,
    momentum: float,
) -> tuple[Tensor, Tensor]:
    """Momentum sign steps in an L-infinity ball that raise the cross-entropy until a sample is misclassified.

    The gradient at the path's end is used at its start unchanged (gradient skip). Each sample's gradient is
    divided by its own L1 norm. All of ``steps + 1`` points are classified, the first being no offset at all.

    Args:
        path: an inversion of B samples.
        classifier: classifies the path's end.
        labels: true classes [B].
        epsilon: radius of the ball.
        steps: number of steps.
        length: length of a step, in the unit of epsilon.
        momentum: factor of the accumulated gradient.

    Returns:
        The best offset of each sample from the start of the path, one that is misclassified, else the one of
        highest loss; and the latents at the path's end, both [B,c,h,w].
    """
    labels = labels.to(path.top.device)
    offset, direction, best, ends = (torch.zeros_like(path.top) for _ in range(4))
    highest = torch.full_like(path.top[:, 0, 0, 0], -torch.inf)
    rows = torch.arange(len(labels), device=labels.device)
    for step in range(steps + 1):
        latents = path.select(rows).denoise(offset[rows])
        found = classifier.classify(latents, labels[rows], gradient=step < steps)
        wrong = found.logits.argmax(1) != labels[rows]
        loss = found.loss.to(highest)
        better = wrong | (loss > highest[rows])
        best[rows[better]], ends[rows[better]] = offset[rows[better]], latents[better]
        highest[rows] = torch.maximum(highest[rows], loss)
        rows = rows[~wrong]
        if step == steps or not len(rows):
            break
        gradient = found.gradient[~wrong]
        norm = gradient.abs().sum((1, 2, 3), keepdim=True).clamp_min(torch.finfo(gradient.dtype).tiny)
        direction[rows] = momentum * direction[rows] + gradient / norm
        offset[rows] = (offset[rows] + length * direction[rows].sign()).clamp(-epsilon, epsilon)
    return best, ends


@dataclass(frozen=True, kw_only=True, eq=False)
class SCA(Attack):
    """Images that a diffusion model makes of a perturbed latent (SCA, arXiv 2410.02240).

    The image is inverted to the noisiest latent of an edit-friendly path. That latent is moved within an
    L-infinity ball by momentum sign steps that raise the cross-entropy of the decoded image. The derivative
    of the path's end with respect to its start is taken as the identity, so the U-Net is never
    differentiated. A sample stops as soon as it is misclassified.

    The budget bounds the **latent**, on the scale of its unit variance; 0 reconstructs the image. Pixels are
    not bounded, so results do not compare with those in a ball of pixels. Autocast is off and every part runs
    in its own precision; a sample does not depend on its batch.

    Cost of an image at the defaults, at most: 240 U-Net evaluations, 12 decodings and 10 backward passes
    through decoder and classifier (N = ``levels``, T = ``steps``: 2N (T + 2), T + 2, T). No graph spans two
    steps.

    Attributes:
        diffusion: the diffusion model.
        prompts: descriptions of the images.
        steps: number of steps T.
        step_size: length of a step relative to the budget (released code: 0.04 at 0.1).
        momentum: factor of the accumulated gradient; gradients are divided by their L1 norms.
        levels: number of noise levels N.
        skip: share of the noisiest timesteps that is left out.
        guidance: weight of the prompt, on the way to the latent and back.
        decode_batch: images decoded and classified at once. It affects memory only: with the autoencoder of
            Stable Diffusion, 5.5 GB of activations each at 512 pixels.

    Raises:
        ValueError: a number out of its range.
    """

    space: ClassVar[Literal["pixels", "latent"]] = "latent"
    takes_objective: ClassVar[bool] = False

    diffusion: LatentDiffusion
    prompts: Prompts = field(default_factory=Prompts)
    steps: int = 10
    step_size: float = 0.4
    momentum: float = 1.0
    levels: int = 10
    skip: float = 0.1
    guidance: float = 4.5
    decode_batch: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "decode_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name} of at least 1, got {getattr(self, name)}.")
        if self.step_size <= 0:
            raise ValueError(f"Expected a positive step_size, got {self.step_size}.")
        if self.momentum < 0:
            raise ValueError(f"Expected a momentum of at least 0, got {self.momentum}.")
        noise_levels(self.diffusion.alphas_cumprod, self.levels, self.skip)

    def perturb(
        self, objective: Objective, images: Tensor, epsilon: float, random: SampleRandom
    ) -> AttackResult:
        captions = self.prompts(images, objective.labels)
        if len(captions) != len(images):
            raise ValueError(f"Expected a prompt for each of {len(images)} images, got {len(captions)}.")
        with torch.autocast(images.device.type, enabled=False), self.diffusion.evaluating():
            text = self.diffusion.embed([*captions, ""])
            path = invert(
                self.diffusion,
                self.diffusion.encode(images),
                text[:-1],
                text[-1:],
                noise_levels(self.diffusion.alphas_cumprod, self.levels, self.skip),
                self.guidance,
                random,
            )
            classifier = DecodedClassifier(
                diffusion=self.diffusion, model=objective.model, like=images, batch=self.decode_batch
            )
            perturbation, latents = latent_ascent(
                path,
                classifier,
                objective.labels,
                epsilon,
                steps=self.steps if epsilon > 0 else 0,
                length=self.step_size * epsilon,
                momentum=self.momentum,
            )
            return AttackResult(classifier.images(latents), perturbation=perturbation)

    def protocol(self) -> dict[str, Any]:
        names = ("steps", "step_size", "momentum", "levels", "skip", "guidance")
        return {
            **{name: getattr(self, name) for name in names},
            "prompt": self.prompts.source,
            "diffusion": self.diffusion.name,
            "resolution": self.diffusion.resolution,
        }
