"""The semantic-consistent unrestricted attack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from egat_hub.diffusion.decoded import DecodedClassifier
from egat_hub.diffusion.inversion import invert
from egat_hub.diffusion.latent_ascent import latent_ascent
from egat_hub.diffusion.levels import noise_levels
from egat_hub.diffusion.model import LatentDiffusion
from egat_hub.diffusion.prompts import Prompts
from egat_hub.diffusion.unrestricted import Unrestricted
from egat_hub.modes import evaluating
from egat_hub.randomness import SampleRandom


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
