"""Labelled images of one domain, and several domains that share their classes."""

from __future__ import annotations

import copy
import difflib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from egat_hub.core.registry import UnknownNameError
from egat_hub.data.cache import Decoded
from egat_hub.data.images import Reader

_SHOWN = 5


def first_of(problems: Sequence[str]) -> str:
    """The first five problems, a line each, and how many more there are."""
    lines = [f"  {problem}" for problem in problems[:_SHOWN]]
    more = [f"  ... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return "\n".join(lines + more)


def fold(name: str) -> str:
    """``name`` in lower case with letters and digits only: ``"Location 38"`` -> ``"location38"``."""
    return "".join(character for character in name.casefold() if character.isalnum())


def resolve(name: str, known: Iterable[str], *, aliases: Mapping[str, str] | None = None, kind: str) -> str:
    """The one of ``known`` that ``name`` means.

    Args:
        name: a name as somebody wrote it.
        known: the names as this package writes them.
        aliases: further names, each with the known one it stands for.
        kind: what is named, in the plural, for the message.

    Raises:
        UnknownNameError: nothing answers to ``name``; the message has the closest match.
    """
    known = tuple(known)
    if name in known:
        return name
    spellings = {fold(alias): target for alias, target in (aliases or {}).items() if target in known}
    spellings |= {fold(target): target for target in known}
    if fold(name) in spellings:
        return spellings[fold(name)]
    close = difflib.get_close_matches(fold(name), spellings, n=1)
    hint = f" Did you mean {spellings[close[0]]!r}?" if close else ""
    raise UnknownNameError(f"No {name!r} among {kind}.{hint} Known: {', '.join(known)}.")


SPLITS = ("train", "val", "test", "all")


def stratified_split(
    keys: Sequence[str], labels: np.ndarray, *, classes: Sequence[str], seed: int = 0, where: str = "the data"
) -> dict[str, np.ndarray]:
    """Split each class 60/20/20, in the order of the SHA-256 of ``seed`` and key.

    The part an image falls into depends on the seed and the keys of its class only: not on the order
    of files, the platform, library versions or other domains.

    Args:
        keys: N unique names of images.
        labels: int64 ``[N]``, class of each image.
        classes: class names in label order.
        seed: another seed gives another split.
        where: name of the domain, for the message.

    Returns:
        Ascending int64 positions for ``"train"``, ``"val"``, ``"test"`` (disjoint, together everything)
        and ``"all"``.

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
    split = {part: np.sort(np.concatenate(members)) for part, members in parts.items()}
    return split | {"all": np.arange(len(keys))}


class Domain:
    """N labelled images from one source, with a fixed split.

    Args:
        dataset: name of the data set.
        name: name of the domain.
        classes: class names in label order.
        labels: int64 ``[N]``.
        keys: N stable unique names such as ``"dog/0001.jpg"``; the split follows from them.
        read: gives image and mask of a position; must pickle, for worker processes.
        has_masks: whether ``read`` gives a mask with every image.
        stored: whether images come from storage and can be damaged, or are generated.
        split_seed: seed of the split.

    Raises:
        ValueError: a class has fewer than three images.
    """

    def __init__(
        self,
        *,
        dataset: str,
        name: str,
        classes: Sequence[str],
        labels: np.ndarray,
        keys: Sequence[str],
        read: Reader,
        has_masks: bool = False,
        stored: bool = True,
        split_seed: int = 0,
    ) -> None:
        self.dataset = dataset
        self.name = name
        self.classes = tuple(classes)
        self.labels = np.asarray(labels, dtype=np.int64)
        self.keys = tuple(keys)
        self.has_masks = has_masks
        self.stored = stored
        self._read = read
        self._split = stratified_split(
            self.keys, self.labels, classes=self.classes, seed=split_seed, where=f"{dataset}/{name}"
        )

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        return f"Domain({self.dataset}/{self.name}: {len(self)} images, {len(self.classes)} classes)"

    def load(self, index: int) -> tuple[Image.Image, Image.Image | None]:
        """RGB image at a position and, where the domain has masks, its ``"L"`` mask of the same size.

        Raises:
            UnreadableImageError: the file cannot be decoded; :func:`verify` finds such files beforehand.
        """
        return self._read(index)

    def indices(self, split: str) -> np.ndarray:
        """Ascending int64 positions of ``"train"``, ``"val"``, ``"test"`` or ``"all"``.

        Raises:
            UnknownNameError: another split is asked for.
        """
        return self._split[resolve(split, SPLITS, kind="splits")]

    def decoded(self, indices: Sequence[int] | np.ndarray, *, limit: int) -> Domain:
        """The same domain, with images at ``indices`` decoded now and kept in memory, as many as fit.

        Args:
            indices: positions, int64.
            limit: bytes of pixels to keep at most.

        Raises:
            UnreadableImageError: one of the images cannot be decoded.
        """
        other = copy.copy(self)
        other._read = Decoded(self._read, indices, limit=limit)
        return other

    def ordered(self, classes: Sequence[str]) -> Domain:
        """The same images and split, with labels that count the classes in another order.

        Raises:
            ValueError: other classes than those of the domain.
        """
        if sorted(classes) != sorted(self.classes):
            raise ValueError(
                f"Expected the classes of {self.dataset}/{self.name}, {', '.join(self.classes)}, got "
                f"{', '.join(classes)}."
            )
        other = copy.copy(self)
        other.classes = tuple(classes)
        other.labels = np.array([other.classes.index(name) for name in self.classes])[self.labels]
        return other


class MultiDomain(Mapping[str, Domain]):
    """Domains of one data set by name; names are looked up in any spelling.

    Args:
        name: name of the data set.
        domains: at least one domain; all share their classes.
        aliases: further names of domains, each with the one it stands for.

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
                    f"in {domain.name}. Make them agree, or open only domains that do."
                )
        self.name = name
        self.classes = domains[0].classes
        self._by_name = {domain.name: domain for domain in domains}
        self.domains = tuple(self._by_name)
        self._aliases = aliases or {}

    def __getitem__(self, name: str) -> Domain:
        return self._by_name[
            resolve(name, self.domains, aliases=self._aliases, kind=f"domains of {self.name}")
        ]

    def __iter__(self) -> Iterator[str]:
        return iter(self.domains)

    def __len__(self) -> int:
        return len(self.domains)

    def __repr__(self) -> str:
        return f"MultiDomain({self.name}: {', '.join(self.domains)})"
