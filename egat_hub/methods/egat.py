"""Explanation-guided adversarial training (arXiv 2603.01938, Eq. 5 to 10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from egat_hub.backbone import View
from egat_hub.explanations import EXPLANATIONS
from egat_hub.guides import GUIDES, add_noise
from egat_hub.methods.adversarial import AdversarialConfig
from egat_hub.methods.base import METHODS, Batch, Method
from egat_hub.methods.divergence import kl_divergence
from egat_hub.methods.map_distance import MAP_DISTANCES
from egat_hub.methods.mixup import Mixup


@dataclass(frozen=True, kw_only=True)
class EGATConfig(AdversarialConfig):
    """Every weight and choice of EGAT; ``docs/paper.md`` says which the paper states and which it leaves open.

    Attributes:
        lambda_cls: weight of the classification loss.
        lambda_adv: weight of the adversarial loss, Eq. 7.
        lambda_egl: weight of the explanation guidance, Eq. 8.
        lambda_reg: weight of the mixup regulariser, Eq. 10.
        adv_kl: weight of the divergence of predictions within Eq. 7.
        adv_cam: weight of the distance of explanations within Eq. 7.
        reg_ce: weight of the mixed images' cross-entropy within Eq. 10.
        reg_cam: weight of the mixed explanations' distance within Eq. 10.
        reg_sparse: weight of the explanations' L1 norm within Eq. 10.
        consistency: distance of two explanations in Eq. 7 and 10, ``"l1"`` or ``"l2"``.
        alignment: distance of explanation and guide in Eq. 8, ``"bce"``, ``"l1"`` or ``"l2"``.
        guide: name of a guide map, or ``"none"``.
        guide_noise: standard deviation of Gaussian noise on the guide.
        mixup_alpha: parameter of Beta(a, a) in Eq. 9.
        mixup_pairs: partners of the ``"same_class"`` or ``"any"``.
        explanation: name of an explanation.
        head_grad: whether explanations train the weights of the head too.
        normalize: per-image normalisation of the maps; only maps in [0,1] fit ``alignment="bce"``.
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
    mixup_alpha: float = 0.2
    mixup_pairs: Literal["same_class", "any"] = "same_class"
    explanation: str = "grad_cam"
    head_grad: bool = False
    normalize: str = "minmax"


@METHODS.register("egat")
class EGAT(Method):
    """``L = L_cls + l1 L_adv + l2 L_egl + l3 L_reg``.

    Clean, attacked and mixed images share one forward where that changes nothing; explanations come from
    the same features. A term of weight 0 is not computed, nor is what only it needs. Cost: T forwards and
    input backwards for the attack, three forwards, three backwards.
    """

    config_class = EGATConfig
    config: EGATConfig

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        c = self.config
        self.explanation = EXPLANATIONS[c.explanation](head_grad=c.head_grad, normalize=c.normalize)
        self.guide = None if c.guide == "none" else GUIDES[c.guide]

    @property
    def needs_masks(self) -> bool:
        return self.config.guide == "mask" and self.config.lambda_egl > 0

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        c, backbone = self.config, self.backbone
        distance = MAP_DISTANCES[c.consistency]
        weights = {
            "cls": c.lambda_cls,
            "adv_kl": c.lambda_adv * c.adv_kl,
            "adv_cam": c.lambda_adv * c.adv_cam,
            "egl": c.lambda_egl if self.guide else 0.0,
            "reg_ce": c.lambda_reg * c.reg_ce,
            "reg_cam": c.lambda_reg * c.reg_cam,
            "reg_sparse": c.lambda_reg * c.reg_sparse,
        }
        versions = {"clean": batch.images}
        if weights["adv_kl"] or weights["adv_cam"]:
            versions["attacked"] = self._attacked(batch)
        if weights["reg_ce"] or weights["reg_cam"] or weights["reg_sparse"]:
            mixup = Mixup.draw(batch, alpha=c.mixup_alpha, same_class=c.mixup_pairs == "same_class")
            versions["mixed"] = mixup(batch.images)
        views = dict(zip(versions, self.views(*versions.values()), strict=True))
        ...
