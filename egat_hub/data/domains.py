"""Domains: labelled images with a fixed split, and data sets of several domains."""

from __future__ import annotations

import copy
import difflib
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from egat_hub.core.config import digest
from egat_hub.core.registry import Registry, UnknownNameError
from egat_hub.data.config import DataConfig
from egat_hub.data.images import ImageCache, Reader


def summarize(problems: Sequence[str], limit: int = 5) -> str:
    """The first problems, one per line, and the number of the others."""
    lines = [f"  {problem}" for problem in problems[:limit]]
    more = [f"  ... and {len(problems) - limit} more"] if len(problems) > limit else []
    return "\n".join(lines + more)


def normalize_name(name: str) -> str:
    """``name`` in lower case, letters and digits only: ``"Location 38"`` -> ``"location38"``."""
    return "".join(character for character in name.casefold() if character.isalnum())


def resolve_name(
    name: str, names: Iterable[str], *, aliases: Mapping[str, str] | None = None, kind: str
) -> str:
    """Find ``name`` among ``names``, ignoring case, spaces and punctuation.

    Args:
        name: the name to look up.
        names: the valid names.
        aliases: alternative names, mapped to valid ones.
        kind: what the names stand for, in the plural; used in the error message.

    Raises:
        UnknownNameError: no match; the message has the closest one.
    """
    names = tuple(names)
    if name in names:
        return name
    valid = {alias: target for alias, target in (aliases or {}).items() if target in names}
    spellings = {normalize_name(spelling): target for spelling, target in valid.items()}
    spellings |= {normalize_name(target): target for target in names}
    if normalize_name(name) in spellings:
        return spellings[normalize_name(name)]
    close = difflib.get_close_matches(normalize_name(name), spellings, n=1)
    hint = f" Did you mean {spellings[close[0]]!r}?" if close else ""
    raise UnknownNameError(f"No {name!r} among {kind}.{hint} Known: {', '.join(names)}.")


def select_names(
    wanted: Iterable[str] | None,
    names: Iterable[str],
    *,
    aliases: Mapping[str, str] | None = None,
    kind: str,
) -> list[str]:
    """Apply :func:`resolve_name` to all of ``wanted``; None selects all names."""
    names = list(names)
    return names if wanted is None else [resolve_name(n, names, aliases=aliases, kind=kind) for n in wanted]


SPLITS = ("train", "val", "test", "all")


def stratified_split(
    keys: Sequence[str], labels: np.ndarray, *, classes: Sequence[str], seed: int = 0, where: str = "the data"
) -> dict[str, np.ndarray]:
    """Split each class 60/20/20 by the SHA-256 hash of seed and key.

    The split depends only on the seed and the keys of a class, not on the order of files, the platform,
    library versions or other domains.

    Args:
        keys: N unique names of images.
        labels: int64 ``[N]``.
        classes: class names in label order.
        seed: seed of the split.
        where: name of the domain in error messages.

    Returns:
        Ascending int64 positions for ``"train"``, ``"val"`` and ``"test"``, a partition.

    Raises:
        ValueError: a class has fewer than three images.
    """
    digests = np.array([hashlib.sha256(f"{seed}\0{key}".encode()).hexdigest() for key in keys])
    parts: dict[str, list[np.ndarray]] = {"train": [], "val": [], "test": []}
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        if len(members) < 3:
            raise ValueError(
                f"Class {name!r} of {where} has {len(members)} image(s), but train, val and test "
                "need at least 3. Add images, or remove the class from every domain."
            )
        members = members[np.argsort(digests[members])]
        fifth = (2 * len(members) + 5) // 10
        parts["val"].append(members[:fifth])
        parts["test"].append(members[fifth : 2 * fifth])
        parts["train"].append(members[2 * fifth :])
    return {part: np.sort(np.concatenate(members)) for part, members in parts.items()}


@dataclass(kw_only=True, eq=False, repr=False)
class Domain:
    """N labelled images of one domain, with a fixed split.

    Attributes:
        dataset: name of the data set.
        name: name of the domain.
        classes: class names in label order.
        labels: int64 ``[N]``.
        keys: N unique, stable names such as ``"dog/0001.jpg"``; they determine the split.
        read: returns image and mask at a position; must be picklable for worker processes.
        has_masks: whether ``read`` returns a mask for every image.
        stored: whether images are read from storage, where they may be damaged, or generated.
        split_seed: seed of the split.
    """

    dataset: str
    name: str
    classes: tuple[str, ...]
    labels: np.ndarray
    keys: tuple[str, ...]
    read: Reader
    has_masks: bool = False
    stored: bool = True
    split_seed: int = 0

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        return f"Domain({self.dataset}/{self.name}: {len(self)} images, {len(self.classes)} classes)"

    @property
    def images_digest(self) -> str:
        """Digest of the names of the images, in any order."""
        return digest(sorted(self.keys))

    def load(self, index: int) -> tuple[Image.Image, Image.Image | None]:
        """The RGB image at a position and, if the domain has masks, its ``"L"`` mask of the same size."""
        return self.read(index)

    def indices(self, split: str) -> np.ndarray:
        """Ascending int64 positions of ``"train"``, ``"val"``, ``"test"`` or ``"all"``.

        Raises:
            UnknownNameError: no such split.
            ValueError: a class has too few images to be split.
        """
        split = resolve_name(split, SPLITS, kind="splits")
        return np.arange(len(self)) if split == "all" else self._split[split]

    @functools.cached_property
    def _split(self) -> dict[str, np.ndarray]:
        return stratified_split(
            self.keys,
            self.labels,
            classes=self.classes,
            seed=self.split_seed,
            where=f"{self.dataset}/{self.name}",
        )

    def cached(self, indices: Sequence[int] | np.ndarray, *, limit: int) -> Domain:
        """A domain that holds images at ``indices`` in memory, decoded, up to ``limit`` bytes."""
        other = copy.copy(self)
        other.read = ImageCache(self.read, indices, limit=limit)
        return other

    def ordered(self, classes: Sequence[str]) -> Domain:
        """The same images and split, with labels that count in ``classes``, which may have more.

        Raises:
            ValueError: classes of the domain are missing in ``classes``.
        """
        missing = [name for name in self.classes if name not in classes]
        if missing:
            raise ValueError(
                f"Expected images of {', '.join(classes)}; {self.dataset}/{self.name} has also "
                f"{', '.join(missing)}."
            )
        other = copy.copy(self)
        other.classes = tuple(classes)
        other.labels = np.array([other.classes.index(name) for name in self.classes])[self.labels]
        return other


class MultiDomain(Mapping[str, Domain]):
    """The domains of a data set by name, in any spelling.

    Args:
        name: name of the data set.
        domains: at least one domain; all have the same classes.
        aliases: alternative names of domains.

    Raises:
        ValueError: two domains have different classes.
    """

    def __init__(
        self, name: str, domains: Sequence[Domain], *, aliases: Mapping[str, str] | None = None
    ) -> None:
        for domain in domains[1:]:
            if domain.classes != domains[0].classes:
                raise ValueError(
                    f"The domains of {name} must have the same classes in the same order, got "
                    f"{', '.join(domains[0].classes)} in {domains[0].name} and {', '.join(domain.classes)} "
                    f"in {domain.name}. Rename the classes, or open only domains that agree."
                )
        self.name = name
        self.classes = domains[0].classes
        self._by_name = {domain.name: domain for domain in domains}
        self.domains = tuple(self._by_name)
        self._aliases = aliases or {}

    def __getitem__(self, name: str) -> Domain:
        kind = f"domains of {self.name}"
        return self._by_name[resolve_name(name, self.domains, aliases=self._aliases, kind=kind)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.domains)

    def ordered(self, classes: Sequence[str]) -> MultiDomain:
        """The same domains, with labels that count in ``classes``; see :meth:`Domain.ordered`."""
        domains = [domain.ordered(classes) for domain in self._by_name.values()]
        return MultiDomain(self.name, domains, aliases=self._aliases)

    def __len__(self) -> int:
        return len(self.domains)

    def __repr__(self) -> str:
        return f"MultiDomain({self.name}: {', '.join(self.domains)})"


Source = Callable[[DataConfig, "Sequence[str] | None"], MultiDomain]
"""Opens the data set that a config describes; the second argument selects domains, None means all."""

SOURCES: Registry[Source] = Registry("datasets")
