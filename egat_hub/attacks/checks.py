"""What makes a figure of robustness doubtful before any attack has run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

RANDOMNESS = "randomness"
PROBABILITIES = "probability_outputs"
INNER_GRADIENT = "gradient_in_forward"
ZERO_GRADIENT = "zero_margin_gradient"

CHECKS = (RANDOMNESS, PROBABILITIES, INNER_GRADIENT, ZERO_GRADIENT)


def suspicions(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """For each of ``CHECKS``, whether an image raises it [B].

    - ``randomness``: the logits of two forwards differ;
    - ``probability_outputs``: the logits are positive and sum to 1, so a softmax is part of the model;
    - ``gradient_in_forward``: the model takes gradients in its forward, as defences that optimise do;
    - ``zero_margin_gradient``: the margin between the best other class and the true one has an input gradient
      of exact zeros.

    Cost: two forwards, one backward.

    Args:
        model: images in [0,1] to logits, in eval mode.
        images: [B,3,H,W] in [0,1].
        labels: true classes [B].
    """
    with torch.enable_grad():
        pixels = images.detach().requires_grad_()
        logits = model(pixels)
        (slope,) = torch.autograd.grad(margin(logits, labels).sum(), pixels)
    watch = _GradientCalls()
    with watch:
        again = model(images)
    logits = logits.detach().float()
    sums = (logits.sum(1) - 1).abs() < 1e-5
    return {
        RANDOMNESS: differ(logits, again.float()),
        PROBABILITIES: sums & (logits > -1e-5).all(1) & (logits < 1 + 1e-5).all(1),
        INNER_GRADIENT: torch.full(labels.shape, watch.seen, device=images.device),
        ZERO_GRADIENT: (slope.flatten(1) == 0).all(1),
    }


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the best other class minus that of the true one [B]; positive where the model is wrong."""
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return others - logits.gather(1, labels[:, None])[:, 0]


def differ(first: Tensor, second: Tensor) -> Tensor:
    """Whether logits of the same image [B,C] differ by more than rounding, relative to their length [B]."""
    distance = (first - second).norm(dim=1)
    return distance > 1e-4 * first.norm(dim=1).clamp_min(1e-10)


class _GradientCalls(TorchFunctionMode):
    """Notes whether anything inside asks for a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.seen |= func in (torch.autograd.grad, torch.autograd.backward, Tensor.backward)
        return func(*args, **(kwargs or {}))
