"""Open any data set by name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

from egat_hub.registry import Registry

from .benchmarks import BENCHMARKS
from .config import DataConfig
from .domains import MultiDomain
from .folder import open_folder
from .names import resolve
from .synthetic import open_synthetic
from .verify import verify as verify_images

Source = Callable[[DataConfig, "Sequence[str] | None"], MultiDomain]

SOURCES: Registry[Source] = Registry("datasets")
SOURCES.register("folder")(open_folder)
SOURCES.register("synthetic")(open_synthetic)


def open_dataset(
    config: DataConfig, domains: Sequence[str] | None = None, *, verify: bool = True
) -> MultiDomain:
    """Open the data set that ``config`` describes, and check it.

    Args:
        config: which data set, where it is.
        domains: domains to open, in any spelling; all there are by default.
        verify: decode every stored image once, so that none can fail later.

    Raises:
        UnknownNameError: no such data set or domain; the message has the closest match.
        FileNotFoundError: a folder or mask is missing.
        UnreadableImageError: images that cannot be decoded or whose mask has another size.
        ValueError: too few classes or images.
    """
    if "/" in config.name:
        from .hub import open_hub  # its library takes a second to import, and few need it

        source: Source = open_hub
    else:
        name = resolve(config.name, [*SOURCES, *BENCHMARKS], kind="datasets")
        config = dataclasses.replace(config, name=name)
        benchmark = BENCHMARKS.get(name)
        source = functools.partial(open_folder, benchmark=benchmark) if benchmark else SOURCES[name]
    dataset = source(config, domains or None)
    if verify:
        verify_images(dataset.values())
    return dataset
