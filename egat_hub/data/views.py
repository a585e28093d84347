"""A split of a domain as network input: augmented by key for training, plain for evaluation."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch.utils.data import Dataset

from egat_hub.data.domains import Domain
from egat_hub.data.transforms import WHOLE, Framed, apply, evaluation_transform, training_transform

Item = dict[str, torch.Tensor]


class EvaluationView(Dataset[Item]):
    """A split without augmentation; item i is its i-th image.

    Items are dicts of ``image`` (float32 ``[3,s,s]`` in [0,1]), ``label`` and ``index`` (int64 scalars;
    ``index`` is the position in the domain) and, where the domain has masks, ``mask`` (float32 ``[1,s,s]``).

    Args:
        domain: where the images come from.
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
        """A view of ``count`` of the images, drawn at random, or of all if there are no more.

        Of two draws with one seed, the larger has all images of the smaller.
        """
        view = copy.copy(self)
        order = np.random.default_rng(seed).permutation(len(self.indices))
        view.indices = self.indices[np.sort(order[:count])]
        return view


class TrainingView(Dataset[Item]):
    """A split for training; items are asked for by ``(position, step)``.

    Beside what :class:`EvaluationView` gives, they have ``frame`` (float32 ``[5]``), the part of the image
    that is shown: ``top, left, height, width`` in shares of its sides, and 1 where it is flipped.

    Augmentation is a pure function of seed, step and position and leaves the global random state alone,
    so the number of workers or processes and resuming change nothing.

    Args:
        domain: where the images come from.
        split: normally ``"train"``; a position counts within the split.
        image_size: s, in pixels; items are those of :class:`EvaluationView`.
        seed: seed of the augmentation.
        augment: False gives the images of :class:`EvaluationView`.
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

    def decoded(self, *, limit: int) -> TrainingView:
        """The same view, with images decoded now and kept in memory, as many as fit into ``limit`` bytes.

        Raises:
            UnreadableImageError: one of the images cannot be decoded.
        """
        view = copy.copy(self)
        view.domain = self.domain.decoded(self.indices, limit=limit)
        return view

    def __getitem__(self, key: tuple[int, int]) -> Item:
        position, step = key
        entropy = np.random.SeedSequence([self._seed, step, position]).generate_state(1)[0]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(entropy))  # torch.manual_seed would reseed the GPU too
            item = _item(self.domain, int(self.indices[position]), self._transform)
        return item | {"frame": self._transform.frame if isinstance(self._transform, Framed) else WHOLE}


def _item(domain: Domain, index: int, transform: torch.nn.Module) -> Item:
    image, mask = apply(transform, *domain.load(index))
    item = {"image": image, "label": torch.tensor(int(domain.labels[index])), "index": torch.tensor(index)}
    return item if mask is None else item | {"mask": mask}
