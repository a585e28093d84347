"""Explanation-guided adversarial training (arXiv 2603.01938, Eq. 5 to 10)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from torch import Tensor
from torch.nn import functional as F

from egat_hub.explanations import EXPLANATIONS, GUIDES
from egat_hub.explanations.guides import add_noise, on_grid
from egat_hub.methods.adversarial import AdversarialConfig, AdversarialMethod
from egat_hub.methods.base import METHODS, POSITIVE, Batch
from egat_hub.methods.losses import MAP_DISTANCES, Mixup, kl_divergence


@dataclass(frozen=True, kw_only=True)
class EGATConfig(AdversarialConfig):
    """Options of EGAT; ``docs/paper.md`` says which values the paper states.

    Attributes:
        lambda_cls: weight of the classification loss.
        lambda_adv: weight of the adversarial loss, Eq. 7.
        lambda_egl: weight of the explanation guidance, Eq. 8.
        lambda_reg: weight of the mixup regularizer, Eq. 10.
        adv_kl: weight of the KL divergence within Eq. 7.
        adv_cam: weight of the distance between explanations within Eq. 7.
        reg_ce: weight of the cross-entropy of mixed images within Eq. 10.
        reg_cam: weight of the distance between mixed explanations within Eq. 10.
        reg_sparse: weight of the explanations' L1 norm within Eq. 10.
        consistency: distance between explanations in Eq. 7 and 10, ``"l1"`` or ``"l2"``.
        alignment: distance between explanation and guide in Eq. 8, ``"bce"``, ``"l1"`` or ``"l2"``.
        guide: name of a guide map, or ``"none"``.
        guide_noise: standard deviation of Gaussian noise on the guide, whose values are in [0, 1].
        mixup_alpha: parameter of Beta(a, a) in Eq. 9.
        mixup_pairs: mix images of the ``"same_class"`` or of ``"any"`` class.
        explanation: name of an explanation.
        head_grad: whether explanations also train the head.
        normalize: per-image normalization of the maps.
    """

    lambda_cls: float = 1.0
    lambda_adv: float = 0.5
    lambda_egl: float = 1.0
    lambda_reg: float = 1.0
    adv_kl: float = 1.0
    adv_cam: float = 1.0
    reg_ce: float = 1.0
    reg_cam: float = 1.0
    reg_sparse: float = 1.0
    consistency: Literal["l1", "l2"] = "l1"
    alignment: Literal["bce", "l1", "l2"] = "bce"
    guide: str = "grayscale"
    guide_noise: float = 0.0
    mixup_alpha: float = field(default=0.2, metadata=POSITIVE)
    mixup_pairs: Literal["same_class", "any"] = "same_class"
    explanation: str = "grad_cam"
    head_grad: bool = False
    normalize: str = "minmax"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alignment == "bce" and self.normalize == "none":
            raise ValueError("alignment='bce' needs maps in [0, 1]; choose a normalize other than 'none'.")


@METHODS.register("egat")
class EGAT(AdversarialMethod):
    """``L = L_cls + l1 L_adv + l2 L_egl + l3 L_reg``.

    Explanations come from the features of the classification. Terms with weight 0 are not computed.
    Cost: T forwards and input backwards for the attack, three forwards, three backwards.
    """

    config_class = EGATConfig
    config: EGATConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        c = self.config
        self.explanation = EXPLANATIONS[c.explanation](
            head_grad=c.head_grad, normalize=c.normalize
        ).training()
        self.guide = GUIDES[c.guide]
        self.weights = {
            "cls": c.lambda_cls,
            "adv_kl": c.lambda_adv * c.adv_kl,
            "adv_cam": c.lambda_adv * c.adv_cam,
            "egl": 0.0 if c.guide == "none" else c.lambda_egl,
            "reg_ce": c.lambda_reg * c.reg_ce,
            "reg_cam": c.lambda_reg * c.reg_cam,
            "reg_sparse": c.lambda_reg * c.reg_sparse,
        }
        if not any(self.weights.values()):
            raise ValueError("All terms of EGAT have weight 0; set lambda_cls, for example.")

    @property
    def needs_masks(self) -> bool:
        return self.config.guide == "mask" and self.weights["egl"] > 0

    def check_model(self) -> None:
        self.explanation.check(self.model)

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        c, labels = self.config, batch.labels
        versions, target = {"clean": batch.images}, {"clean": labels}
        if self.weights["adv_kl"] or self.weights["adv_cam"]:
            versions["attacked"], target["attacked"] = self.perturb(batch), labels
        if self.weights["reg_ce"] or self.weights["reg_cam"] or self.weights["reg_sparse"]:
            same_class = c.mixup_pairs == "same_class"
            mixup = Mixup.draw(batch, alpha=c.mixup_alpha, same_class=same_class)
            versions["mixed"], target["mixed"] = mixup(batch.images), labels
            if not same_class:
                target["mixed"] = mixup(F.one_hot(labels, self.model.num_classes).float())
        view = dict(zip(versions, self.views(*versions.values()), strict=True))
        distance, alignment = MAP_DISTANCES[c.consistency], MAP_DISTANCES[c.alignment]

        @cache
        def saliency(version: str) -> Tensor:
            return self.explanation.of(self.model, view[version], target[version])

        def prediction(version: str) -> Tensor:
            return self.model.without_dropout(view[version])

        term = {
            "cls": lambda: F.cross_entropy(view["clean"].logits, labels),
            "adv_kl": lambda: kl_divergence(prediction("clean"), prediction("attacked")),
            "adv_cam": lambda: distance(saliency("clean"), saliency("attacked")),
            "egl": lambda: alignment(saliency("clean"), self._guide(batch, saliency("clean"))),
            "reg_ce": lambda: F.cross_entropy(view["mixed"].logits, target["mixed"]),
            "reg_cam": lambda: distance(saliency("mixed"), mixup(saliency("clean"))),
            "reg_sparse": lambda: saliency("mixed").abs().mean(),
        }
        terms = {name: weight * term[name]() for name, weight in self.weights.items() if weight}
        return view["clean"].logits, terms

    def _guide(self, batch: Batch, maps: Tensor) -> Tensor:
        """Guide [B,h,w] on the grid of the maps. Noise is added after pooling, which would average it out."""
        guide = on_grid(self.guide(batch.images, batch.masks), maps)
        level = self.config.guide_noise
        return add_noise(guide, level, batch.random) if level else guide
