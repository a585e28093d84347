"""A classifier as latents see it: behind the decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.diffusion.model import LatentDiffusion
from egat_hub.diffusion.resize import resize


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
