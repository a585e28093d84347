"""Distance between two predictions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def kl_divergence(logits: Tensor, other: Tensor, *, reduction: Literal["mean", "none"] = "mean") -> Tensor:
    """``KL(p || q)`` of the softmax of ``logits`` against that of ``other`` [B,C], a sample or averaged."""
    precision = torch.promote_types(logits.dtype, torch.float32)
    log_p, log_q = F.log_softmax(logits, 1, dtype=precision), F.log_softmax(other, 1, dtype=precision)
    divergence = (log_p.exp() * (log_p - log_q)).sum(1)
    return divergence.mean() if reduction == "mean" else divergence
