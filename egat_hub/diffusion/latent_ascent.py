"""Where in a ball around a path's start the path has to begin for the decoded image to be misclassified."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from egat_hub.diffusion.decoded import DecodedClassifier
from egat_hub.diffusion.inversion import Inversion


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
