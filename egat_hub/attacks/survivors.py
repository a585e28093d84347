"""Images under attack: which of them still stand, and the worst that was found."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Survivors:
    """A batch at one budget.

    An image stands as long as a fresh forward classifies every perturbation of it correctly. The worst
    perturbation is one that breaks the image, else the one of highest cross-entropy.

    Args:
        model: images in [0,1] to logits.
        images: [B,3,H,W], what counts as the worst while nothing was tried.
        labels: true classes [B].
        standing: [B], which images stand at the beginning.

    Attributes:
        standing: [B], which images stand.
        worst: [B,3,H,W], the worst perturbations.
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, standing: Tensor) -> None:
        self.standing = standing.clone()
        self.worst = images.clone()
        self._model = model
        self._labels = labels
        self._highest = torch.full((len(images),), -torch.inf, device=images.device)

    def rows(self) -> Tensor:
        """Positions of the images that stand."""
        return self.standing.nonzero()[:, 0]

    def face(self, found: Tensor, rows: Tensor) -> None:
        """Judge perturbed images [len(rows),3,H,W] of the standing images in ``rows``."""
        logits = self._model(found)
        holds = logits.argmax(1) == self._labels[rows]
        loss = F.cross_entropy(logits, self._labels[rows], reduction="none").float()
        worse = ~holds | (loss > self._highest[rows])
        self.worst[rows[worse]] = found[worse]
        self._highest[rows] = torch.maximum(self._highest[rows], loss)
        self.standing[rows] = holds
