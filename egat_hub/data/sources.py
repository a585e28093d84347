"""Open any data set by name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

from egat_hub.core.registry import Registry
from egat_hub.data.config import BENCHMARKS, DataConfig
from egat_hub.data.domains import MultiDomain, resolve
from egat_hub.data.folder import open_folder
from egat_hub.data.synthetic import open_synthetic
from egat_hub.data.verify import verify as verify_images

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
        from egat_hub.data.hub import open_hub

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
