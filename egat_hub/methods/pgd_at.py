"""Adversarial training on PGD examples."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from egat_hub.methods.adversarial import AdversarialConfig, AdversarialMethod
from egat_hub.methods.base import METHODS, Batch


@METHODS.register("pgd_at")
class PGDAT(AdversarialMethod):
    """``CE(f(x'), y)`` on ``x' = PGD(x)`` (Madry et al. 2018).

    ``"output"`` holds the logits of the attacked images: the clean ones are never seen.
    Cost: T forwards and input backwards for the attack, one forward, one backward.
    """

    config_class = AdversarialConfig
    config: AdversarialConfig

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.backbone(self.perturb(batch))
        return logits, {"adv": F.cross_entropy(logits, batch.labels)}
