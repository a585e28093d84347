"""ALIGN: align explanations with a learned mask."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.explanations import GradCAM
from egat_hub.explanations.guides import on_grid
from egat_hub.methods.base import METHODS, POSITIVE, Batch, Method, MethodConfig
from egat_hub.methods.losses import Mixup, bce, l1
from egat_hub.models.train_mode import evaluating, frozen


class Masker(nn.Module):
    """Maps images [B,3,H,W] in [0,1] to masks [B,1,H,W] in (0,1), high on what to keep.

    Five convolutions and two bilinear upsamplings with 46 thousand parameters; initial masks are about 0.73.
    All of this is assumed; the paper only says "a lightweight convolutional network".
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(_block(3, 16), _block(16, 32, stride=2), _block(32, 64, stride=2))
        self.decoder = _block(64, 32)
        self.last = nn.Conv2d(32, 1, 3, padding=1)
        nn.init.ones_(self.last.get_parameter("bias"))

    def forward(self, images: Tensor) -> Tensor:
        features = self.encoder(2 * images - 1)
        height, width = images.shape[2:]
        half = F.interpolate(features, ((height + 1) // 2, (width + 1) // 2), mode="bilinear")
        whole = F.interpolate(self.last(self.decoder(half)), (height, width), mode="bilinear")
        return torch.sigmoid(whole)


def _block(channels_in: int, channels_out: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(4, channels_out),
        nn.ReLU(),
    )


@dataclass(frozen=True, kw_only=True)
class ALIGNConfig(MethodConfig):
    """Options of ALIGN. No code was released; all defaults but ``mixup_alpha`` are assumed.

    Attributes:
        lambda_size: weight of the mean mask in the masker's loss.
        lambda_tv: weight of the mask's total variation in the masker's loss.
        lambda_egl: weight of the explanation's distance to the mask in the classifier's loss.
        lambda_reg: weight of the mixup regularizer in the classifier's loss.
        mixup_alpha: parameter of Beta(a, a).
        warmup: steps that train the classifier without mask (paper: 200 epochs).
        masker_lr: learning rate of the masker relative to the classifier's.
    """

    lambda_size: float = 0.1
    lambda_tv: float = 0.1
    lambda_egl: float = 1.0
    lambda_reg: float = 1.0
    mixup_alpha: float = field(default=0.2, metadata=POSITIVE)
    warmup: int = 200
    masker_lr: float = 2.0


@METHODS.register("align")
class ALIGN(Method):
    """Train a classifier and a masker together (Hong et al., AAAI 2026, arXiv 2511.06944; from notes on it).

    The masker minimizes ``mean (d - 1)^2 + l_size mean M + l_tv TV(M)`` with ``d = p_y(x M) - p_y(x (1 -
    M))`` and a fixed classifier. The classifier minimizes ``CE + l_egl BCE(Phi, M) + l_reg L_reg`` with
    fixed masks, where L_reg is EGAT's Eq. 10, in the same optimizer step. Masked pixels get the mean colour.
    Cost: two forwards, two backwards; for the masker two forwards and two backwards to the input.
    """

    config_class = ALIGNConfig
    config: ALIGNConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.explanation = GradCAM()
        with self.seeded():
            self.masker = Masker().to(self.model.mean).requires_grad_(self.config.lambda_egl > 0)

    def lr_scale(self, parameter: str) -> float:
        return self.config.masker_lr if parameter.startswith("masker.") else 1.0

    def check_model(self) -> None:
        self.explanation.check(self.model)

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        c, labels = self.config, batch.labels
        mixup = Mixup.draw(batch, alpha=c.mixup_alpha, same_class=True)
        clean, *mixed = self.views(batch.images, *([mixup(batch.images)] if c.lambda_reg else []))
        maps, *mixed_maps = (self.explanation.of(self.model, view, labels) for view in (clean, *mixed))
        terms = {"cls": F.cross_entropy(clean.logits, labels)}
        if c.lambda_egl and batch.step >= c.warmup:
            masks = self.masker(batch.images)
            terms["egl"] = c.lambda_egl * bce(maps, on_grid(masks.detach(), maps))
            terms |= self._masker_terms(masks, batch)
        elif c.lambda_egl:
            idle = [p.sum() for p in self.masker.parameters()]  # DDP needs every parameter in the graph
            terms["mask_distance"] = 0 * torch.stack(idle).sum()
        if c.lambda_reg:
            terms["reg_ce"] = c.lambda_reg * F.cross_entropy(mixed[0].logits, labels)
            terms["reg_cam"] = c.lambda_reg * l1(mixed_maps[0], mixup(maps))
            terms["reg_sparse"] = c.lambda_reg * mixed_maps[0].abs().mean()
        return clean.logits, terms

    def _masker_terms(self, masks: Tensor, batch: Batch) -> dict[str, Tensor]:
        c, mean = self.config, self.model.mean
        batch.metrics["mask_mean"] = share = masks.detach().mean()
        if batch.step % 100 == 0 and not 0.1 < share < 0.8:
            warnings.warn(
                f"ALIGN's masks have a mean of {share:.2f} at step {batch.step}, outside 0.1 to 0.8: they "
                f"carry no information. {'Lower' if share <= 0.1 else 'Raise'} lambda_size.",
                stacklevel=2,
            )
        content = batch.images - mean
        with evaluating(self.model), frozen(self.model):
            logits = self.model(mean + torch.cat([content * masks, content * (1 - masks)]))
        kept, removed = logits.softmax(1).gather(1, batch.labels.repeat(2)[:, None]).chunk(2)
        variation = masks.diff(dim=2).abs().mean() + masks.diff(dim=3).abs().mean()
        return {
            "mask_distance": (kept - removed - 1).square().mean(),
            "mask_size": c.lambda_size * masks.mean(),
            "mask_tv": c.lambda_tv * variation,
        }
