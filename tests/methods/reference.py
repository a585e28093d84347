"""What methods compute, written down again without sharing code with them.

Only the keyed random numbers are taken from the package, since they are inputs of the formulas.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.models import TimmModel


def logits(model: TimmModel, images: Tensor) -> Tensor:
    """The bare network on images that were normalised outside."""
    return model.net((images - model.mean) / model.std)


def pgd(
    model: TimmModel,
    images: Tensor,
    start: Tensor,
    loss: Callable[[Tensor], Tensor],
    eps: float,
    steps: int,
) -> Tensor:
    """Sign-gradient ascent on ``loss(logits)`` in eval mode, step 2.5 eps / T."""
    was_training = model.training
    model.eval()
    attacked = start.clamp(0, 1)
    for _ in range(steps):
        attacked = attacked.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(logits(model, attacked)), attacked)
        moved = attacked + 2.5 * eps / steps * gradient.sign()
        attacked = (images + (moved - images).clamp(-eps, eps)).clamp(0, 1)
    model.train(was_training)
    return attacked.detach()


def pgd_on_labels(
    model: TimmModel, images: Tensor, labels: Tensor, eps: float, steps: int, random: SampleRandom
) -> Tensor:
    """PGD on cross-entropy from a uniform start."""
    start = images + random.uniform(images, -eps, eps, "attack")
    return pgd(model, images, start, lambda z: F.cross_entropy(z, labels, reduction="sum"), eps, steps)


def kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """``KL(p || q)``, summed over classes and averaged over the batch."""
    p, q = p_logits.softmax(1), q_logits.softmax(1)
    return (p * (p / q).log()).sum(1).mean()


def grad_cam(model: TimmModel, images: Tensor, target: Tensor, *, head_grad: bool = False) -> Tensor:
    """Eq. 1 and 2 by autograd, image by image, stretched to [0, 1]."""
    features = model.net.forward_features((images - model.mean) / model.std)
    scores = model.net.forward_head(features)
    if target.ndim == 1:
        target = F.one_hot(target, scores.shape[1])
    (gradient,) = torch.autograd.grad((scores * target).sum(), features, create_graph=True)
    gradient = gradient if head_grad else gradient.detach()
    maps = []
    for weights, activation in zip(gradient.mean((2, 3)), features, strict=True):
        raw = sum(w * a for w, a in zip(weights, activation, strict=True)).relu()
        span = raw.max() - raw.min()
        maps.append((raw - raw.min()) / span if span > 0 else raw * 0)
    return torch.stack(maps)


def partners(labels: Tensor, random: SampleRandom, *, same_class: bool) -> list[int]:
    """Members of a group, in order, get the members sorted by their draws."""
    draws = random.uniform(torch.empty(len(labels)), 0, 1, "partner").tolist()
    groups = labels.tolist() if same_class else [0] * len(labels)
    partner = [0] * len(labels)
    for group in set(groups):
        members = [i for i, g in enumerate(groups) if g == group]
        for i, j in zip(members, sorted(members, key=draws.__getitem__), strict=True):
            partner[i] = j
    return partner


def mix(values: Tensor, partner: list[int], share: Tensor) -> Tensor:
    """Eq. 9, row by row."""
    pairs = zip(share, values, values[partner], strict=True)
    return torch.stack([s * own + (1 - s) * other for s, own, other in pairs])


def luminance(images: Tensor, height: int, width: int) -> Tensor:
    """Gray values averaged over the image cells of a grid."""
    gray = (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1)
    return gray.unflatten(1, (height, -1)).unflatten(3, (width, -1)).mean((2, 4))
