"""A 60/20/20 split that follows from the names of the images alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

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
