"""The semantic-consistent unrestricted attack."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.attacks.diffusion.inversion import Inversion, Prompts, invert
from egat_hub.attacks.diffusion.model import LatentDiffusion, noise_levels, resize
from egat_hub.core.randomness import SampleRandom
from egat_hub.models.modes import evaluating


class Unrestricted(NamedTuple):
    """Adversarial images, and how far they went in the latent that was bounded and in pixels that were not.

    Attributes:
        images: [B,3,H,W] in [0,1], decoded from the best perturbation of each sample.
        success: [B], whether a fresh forward on ``images`` misclassifies the sample.
        reconstruction: [B], whether the unperturbed latent, decoded, was misclassified already; such a
            sample has a perturbation of 0.
        perturbation: of the noisiest latent [B,c,h,w].
        latent_distance: L-infinity norm of the perturbation [B], at most the budget.
        pixel_linf: L-infinity distance of ``images`` to the clean images [B], not bounded.
        pixel_l2: Euclidean distance of ``images`` to the clean images [B], not bounded.
        protocol: settings as result rows note them, with ``budget_space: "latent"`` and the budget as
            ``latent_epsilon``: it is no radius in pixels, and no figure may put it on an axis of those.
    """

    images: Tensor
    success: Tensor
    reconstruction: Tensor
    perturbation: Tensor
    latent_distance: Tensor
    pixel_linf: Tensor
    pixel_l2: Tensor
    protocol: Mapping[str, Any]


class Look(NamedTuple):
    """Logits [B,C], cross-entropy [B] and, if asked for, the gradient of its sum [B,c,h,w]."""

    logits: Tensor
    loss: Tensor
    slope: Tensor | None


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

    def look(self, latents: Tensor, labels: Tensor, *, gradient: bool) -> Look:
        """What the classifier makes of latents [B,c,h,w]. Cost: a decoding each, and a backward if asked.

        Raises:
            FloatingPointError: the gradient is not finite.
        """
        parts = [
            self._look(some, true, gradient)
            for some, true in zip(latents.split(self.batch), labels.split(self.batch), strict=True)
        ]
        logits = torch.cat([part.logits for part in parts]).to(latents.device)
        loss = torch.cat([part.loss for part in parts]).to(latents.device)
        slope = torch.cat([part.slope for part in parts if part.slope is not None]) if gradient else None
        if slope is not None and not torch.isfinite(slope).all():
            raise FloatingPointError(
                "SCA met a gradient that is not finite: parameters or outputs of the classifier or of the "
                "autoencoder are not finite. If the autoencoder is in bfloat16, try float32."
            )
        return Look(logits, loss, slope)

    def _look(self, latents: Tensor, labels: Tensor, gradient: bool) -> Look:
        with torch.set_grad_enabled(gradient):
            latents = latents.detach().requires_grad_(gradient)
            logits = self.model(self._image(latents))
            loss = F.cross_entropy(logits, labels.to(logits.device), reduction="none")
            slope = torch.autograd.grad(loss.sum(), latents)[0] if gradient else None
        return Look(logits.detach(), loss.detach(), slope)

    def _image(self, latents: Tensor) -> Tensor:
        images = resize(self.diffusion.decode(latents), *self.like.shape[-2:])
        return images.to(self.like).clamp(0, 1)  # what rounding may add


class Found(NamedTuple):
    """The best of each sample: one that breaks it, else the one of highest loss.

    Attributes:
        offset: from the start of the path [B,c,h,w].
        restored: latents where the path then ends [B,c,h,w].
        at_once: whether no offset was needed [B].
    """

    offset: Tensor
    restored: Tensor
    at_once: Tensor


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
) -> Found:
    """Momentum sign steps in an L-infinity ball, up the cross-entropy, until a sample breaks.

    The gradient at the path's end is used at its start as it is (gradient skip). Each sample's gradient is
    divided by its own L1 norm. All of ``steps + 1`` points are judged, the first being no offset at all.

    Args:
        path: an inversion of B samples.
        classifier: judges where the path ends.
        labels: true classes [B].
        epsilon: radius of the ball.
        steps: number of steps.
        length: length of a step, in the unit of epsilon.
        momentum: share of the accumulated gradient that is kept.
    """
    labels = labels.to(path.top.device)
    offset, direction, restored = (torch.zeros_like(path.top) for _ in range(3))
    best, at_once = torch.zeros_like(path.top), torch.zeros_like(labels, dtype=torch.bool)
    highest = torch.full_like(path.top[:, 0, 0, 0], -torch.inf)
    rows = torch.arange(len(labels), device=labels.device)
    for step in range(steps + 1):
        ends = path.select(rows).denoise(offset[rows])
        look = classifier.look(ends, labels[rows], gradient=step < steps)
        broken = look.logits.argmax(1) != labels[rows]
        loss = look.loss.to(highest)
        better = broken | (loss > highest[rows])
        best[rows[better]], restored[rows[better]] = offset[rows[better]], ends[better]
        highest[rows] = torch.maximum(highest[rows], loss)
        if step == 0:
            at_once = broken
        rows = rows[~broken]
        if look.slope is None or not len(rows):
            break
        slope = look.slope[~broken]
        norm = slope.abs().sum((1, 2, 3), keepdim=True).clamp_min(torch.finfo(slope.dtype).tiny)
        direction[rows] = momentum * direction[rows] + slope / norm
        offset[rows] = (offset[rows] + length * direction[rows].sign()).clamp(-epsilon, epsilon)
    return Found(best, restored, at_once)


@dataclass(frozen=True, kw_only=True, eq=False)
class SCA:
    """Images that a diffusion model makes of a perturbed latent (SCA, arXiv 2410.02240).

    The image is inverted to the noisiest latent of an edit-friendly path. That latent is moved within an
    L-infinity ball by momentum sign steps that raise the cross-entropy of the decoded image. The derivative
    of the path's end with respect to its start is taken as the identity, so the U-Net is never
    differentiated. A sample rests as soon as it is misclassified.

    The budget bounds the **latent**, on the scale of its unit variance. Pixels are not bounded, so no figure
    under this attack compares with one in a ball of pixels. Eval mode inside, modes restored; autocast is
    off, every part runs in its own precision; no ``.grad`` is touched; a sample does not depend on its batch.

    Cost of an image at the defaults, at most: 240 U-Net evaluations, 12 decodings and 10 backward passes
    through decoder and classifier (N = ``levels``, T = ``steps``: 2N (T + 2), T + 2, T). No graph spans two
    steps.

    Attributes:
        diffusion: the diffusion model.
        prompts: what it is told about an image, if a call does not say.
        steps: number of steps T.
        step_size: length of a step relative to the budget (released code: 0.04 at 0.1).
        momentum: share of the accumulated gradient that is kept; gradients are divided by their L1 norms.
        levels: number of noise levels N.
        skip: share of the noisiest timesteps that is left out.
        guidance: weight of the prompt, on the way to the latent and back.
        decode_batch: images decoded and classified at once. It changes no figure but memory: with the
            autoencoder of Stable Diffusion, 5.5 GB of activations each at 512 pixels.

    Raises:
        ValueError: a number out of its range.
    """

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

    def __call__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        epsilon: float,
        *,
        random: SampleRandom | None = None,
        prompts: Sequence[str] | None = None,
    ) -> Tensor:
        """Adversarial images [B,3,H,W] in [0,1]; arguments as for :meth:`perturb`."""
        return self.perturb(model, images, labels, epsilon, random=random, prompts=prompts).images

    def perturb(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        epsilon: float,
        *,
        random: SampleRandom | None = None,
        prompts: Sequence[str] | None = None,
    ) -> Unrestricted:
        """Adversarial images and how far they went.

        Args:
            model: images in [0,1] to logits.
            images: clean images [B,3,H,W] in [0,1].
            labels: true classes [B].
            epsilon: radius of the L-infinity ball around the noisiest latent; 0 for a mere reconstruction.
            random: keyed random numbers; by default those of seed 0 and the position in the batch.
            prompts: B prompts in place of the attack's own.

        Raises:
            ValueError: an epsilon that is negative or not finite, or not one prompt an image.
            FloatingPointError: a gradient is not finite.
        """
        if not 0 <= epsilon < math.inf:
            raise ValueError(f"Expected a latent epsilon of at least 0, got {epsilon}; its authors' is 0.1.")
        captions = self.prompts(images, labels) if prompts is None else list(prompts)
        if len(captions) != len(images):
            raise ValueError(f"Expected a prompt for each of {len(images)} images, got {len(captions)}.")
        protocol = self.protocol(epsilon, "given" if prompts is not None else self.prompts.source)
        if not captions:
            none = images.detach().new_zeros(0)
            return Unrestricted(
                images.detach().clone(), none.bool(), none.bool(), none, none, none, none, protocol
            )
        random = random or SampleRandom.by_position(images)
        with (
            torch.inference_mode(False),
            torch.autocast(images.device.type, enabled=False),
            evaluating(model),
            self.diffusion.evaluating(),
            torch.no_grad(),
        ):
            images, labels = images.detach().clone(), labels.clone()  # autograd refuses inference tensors
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
                diffusion=self.diffusion, model=model, like=images, batch=self.decode_batch
            )
            found = latent_ascent(
                path,
                classifier,
                labels,
                epsilon,
                steps=self.steps if epsilon > 0 else 0,
                length=self.step_size * epsilon,
                momentum=self.momentum,
            )
            adversarial = classifier.images(found.restored)
            success = model(adversarial).argmax(1) != labels
        moved = (adversarial - images).flatten(1)
        return Unrestricted(
            images=adversarial,
            success=success,
            reconstruction=found.at_once.to(labels.device),
            perturbation=found.offset,
            latent_distance=found.offset.abs().flatten(1).amax(1),
            pixel_linf=moved.abs().amax(1),
            pixel_l2=moved.norm(dim=1),
            protocol=protocol,
        )

    def protocol(self, epsilon: float, prompt: str | None = None) -> dict[str, Any]:
        """What defines the attack at a budget, as result rows note it.

        Args:
            epsilon: the latent budget; it is called ``latent_epsilon``, since ``epsilon`` is one of pixels.
            prompt: where prompts come from; by default :attr:`prompts`.
        """
        names = ("steps", "step_size", "momentum", "levels", "skip", "guidance")
        return {
            "attack": "sca",
            "budget_space": "latent",
            "latent_epsilon": epsilon,
            **{name: getattr(self, name) for name in names},
            "prompt": self.prompts.source if prompt is None else prompt,
            "diffusion": self.diffusion.name,
            "resolution": self.diffusion.resolution,
        }
