"""Open any data set by name, and check its images."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tqdm.auto import tqdm

from egat_hub.data.config import BENCHMARKS, DataConfig
from egat_hub.data.domains import SOURCES, Domain, MultiDomain, Source, resolve_name, summarize
from egat_hub.data.folder import open_folder
from egat_hub.data.images import UnreadableImageError

STORED, GENERATED = ("dir", "masks_dir"), ("synthetic_size", "synthetic_seed")
"""Settings of images in files, and of generated ones."""


def open_dataset(
    config: DataConfig,
    domains: Sequence[str] | None = None,
    *,
    classes: Sequence[str] | None = None,
    verify: bool = True,
) -> MultiDomain:
    """Open the data set that ``config`` describes.

    Args:
        config: name and location of the data set.
        domains: domains to open, in any spelling; all by default.
        classes: classes of a model, in the order of its labels; the data set may lack some of
            them, and have too few images for a split.
        verify: decode all stored images once, so that damaged files are reported up front.

    Raises:
        UnknownNameError: no such data set or domain; the message has the closest match.
        FileNotFoundError: a folder or mask is missing.
        UnreadableImageError: images that cannot be decoded, or masks of another size.
        ValueError: too few classes or images, other classes than ``classes``, or settings that the data
            set does not use.
    """
    source, config = _source(config, partial=classes is not None)
    dataset = source(config, domains or None)
    if classes is None:
        for domain in dataset.values():
            domain.indices("train")  # raises if it cannot be split
    else:
        dataset = dataset.ordered(classes)
    if verify:
        verify_images(dataset.values())
    return dataset


def _source(config: DataConfig, *, partial: bool) -> tuple[Source, DataConfig]:
    """What opens a data set, and its config with the name as registered."""
    if "/" in config.name:
        from egat_hub.data.hub import open_hub

        _check_unused(config, "masks_dir", *GENERATED)
        return open_hub, config
    name = resolve_name(config.name, [*SOURCES, *BENCHMARKS], kind="datasets")
    config = dataclasses.replace(config, name=name)
    if name in BENCHMARKS or name == "folder":
        _check_unused(config, *GENERATED)
        return functools.partial(open_folder, benchmark=BENCHMARKS.get(name), partial=partial), config
    if name == "synthetic":
        _check_unused(config, *STORED)
    return SOURCES[name], config


def _check_unused(config: DataConfig, *unused: str) -> None:
    fields = {field.name: field.default for field in dataclasses.fields(config)}
    given = [name for name in unused if getattr(config, name) != fields[name]]
    if given:
        hint = "folder" if given[0] in STORED else "synthetic"
        raise ValueError(
            f"Data set {config.name!r} does not use {', '.join(given)}. Leave it out, or choose another "
            f"data set (--data {hint})."
        )


def verify_images(domains: Iterable[Domain]) -> None:
    """Decode all stored images and masks of ``domains``, in threads.

    Raises:
        UnreadableImageError: some cannot be used; the message has their number and the first five.
    """
    positions = [(domain, index) for domain in domains if domain.stored for index in range(len(domain))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = tqdm(
            pool.map(_problem, positions),
            total=len(positions),
            desc="Checking images",
            leave=False,
            disable=None if positions else True,
        )
        problems = [problem for problem in found if problem]
    if problems:
        raise UnreadableImageError(
            f"{len(problems)} of {len(positions)} images cannot be used:\n{summarize(problems)}\n"
            "Replace these files, or remove them and their masks."
        )


def _problem(position: tuple[Domain, int]) -> str | None:
    domain, index = position
    try:
        domain.load(index)
    except UnreadableImageError as error:
        return str(error)
    return None
