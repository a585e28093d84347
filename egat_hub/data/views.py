"""PyTorch datasets of a split: augmented for training, plain for evaluation."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch.utils.data import Dataset

from egat_hub.data.domains import Domain
from egat_hub.data.transforms import (
    FULL_FRAME,
    FramedTransform,
    apply,
    evaluation_transform,
    training_transform,
)

Item = dict[str, torch.Tensor]


class EvaluationView(Dataset[Item]):
    """A split without augmentation.

    Items are dicts with ``image`` (float32 ``[3,s,s]`` in [0,1]), ``label`` and ``index`` (int64 scalars;
    ``index`` is the position in the domain) and, if the domain has masks, ``mask`` (float32 ``[1,s,s]``).

    Args:
        domain: source of the images.
        split: ``"train"``, ``"val"``, ``"test"`` or ``"all"``.
        image_size: s, in pixels.
    """

    def __init__(self, domain: Domain, split: str, *, image_size: int) -> None:
        self.domain = domain
        self.split = split
        self.indices = domain.indices(split)
        self._transform = evaluation_transform(image_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Item:
        return _item(self.domain, int(self.indices[position]), self._transform)

    def drawn(self, count: int, *, seed: int = 0) -> EvaluationView:
        """A random subset of ``count`` images, or all if there are fewer.

        With the same seed, a larger subset contains a smaller one.
        """
        view = copy.copy(self)
        order = np.random.default_rng(seed).permutation(len(self.indices))
        view.indices = self.indices[np.sort(order[:count])]
        return view


class TrainingView(Dataset[Item]):
    """A split for training, indexed by ``(position, step)``.

    Items are those of :class:`EvaluationView` plus ``frame`` (float32 ``[5]``): ``top, left, height, width``
    of the crop relative to the image, and 1 if it is flipped.

    Augmentation depends only on seed, step and position and does not touch the global random state, so
    batches do not depend on workers, processes or restarts.

    Args:
        domain: source of the images.
        split: ``"train"`` in most cases; positions are relative to the split.
        image_size: s, in pixels.
        seed: seed of the augmentation.
        augment: if False, images are those of :class:`EvaluationView`.
    """

    def __init__(
        self, domain: Domain, split: str = "train", *, image_size: int, seed: int, augment: bool = True
    ) -> None:
        self.domain = domain
        self.indices = domain.indices(split)
        self._seed = seed
        self._transform = training_transform(image_size) if augment else evaluation_transform(image_size)

    def __len__(self) -> int:
        return len(self.indices)

    def cached(self, *, limit: int) -> TrainingView:
        """A view that decodes images now and holds up to ``limit`` bytes of them in memory.

        Raises:
            UnreadableImageError: an image cannot be decoded.
        """
        view = copy.copy(self)
        view.domain = self.domain.cached(self.indices, limit=limit)
        return view

    def __getitem__(self, key: tuple[int, int]) -> Item:
        position, step = key
        entropy = np.random.SeedSequence([self._seed, step, position]).generate_state(1)[0]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(entropy))  # torch.manual_seed would reseed the GPU too
            item = _item(self.domain, int(self.indices[position]), self._transform)
        return item | {
            "frame": self._transform.frame if isinstance(self._transform, FramedTransform) else FULL_FRAME
        }


def _item(domain: Domain, index: int, transform: torch.nn.Module) -> Item:
    image, mask = apply(transform, *domain.load(index))
    item = {"image": image, "label": torch.tensor(int(domain.labels[index])), "index": torch.tensor(index)}
    return item if mask is None else item | {"mask": mask}
