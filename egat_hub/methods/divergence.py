"""Distance between two predictions."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F


def kl_divergence(logits: Tensor, other: Tensor, *, reduction: Literal["mean", "none"] = "mean") -> Tensor:
    """``KL(p || q)`` of the softmax of ``logits`` against that of ``other`` [B,C], a sample or averaged."""
    log_p, log_q = F.log_softmax(logits.float(), 1), F.log_softmax(other.float(), 1)
    divergence = (log_p.exp() * (log_p - log_q)).sum(1)
    return divergence.mean() if reduction == "mean" else divergence
