"""Images in a local folder, ``<domain>/<class>/<image>``."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from egat_hub.core.registry import UnknownNameError
from egat_hub.data.config import Benchmark, DataConfig
from egat_hub.data.domains import SOURCES, Domain, MultiDomain, resolve_name, select_names
from egat_hub.data.images import find_images, image_suffixes, read_image
from egat_hub.data.masks import Mask, Masks, open_masks

_LAYOUT = "Expected <data.dir>/<domain>/<class>/<images>."
_ANY_LAYOUT = "Expected <data.dir>/<domain>/<class>/<images>, or <data.dir>/<class>/<images> for one domain."


def open_folder(
    config: DataConfig,
    domains: Sequence[str] | None = None,
    *,
    benchmark: Benchmark | None = None,
    partial: bool = False,
) -> MultiDomain:
    """Open a folder of images; folder and file names are checked, no image is decoded.

    Without ``benchmark``, domains and classes are the folder names in alphabetical order. A root whose
    subfolders contain images directly is a single domain, named after the root. Images may lie in
    subfolders of a class folder.

    Args:
        config: ``dir`` is the root; for ``masks_dir`` see :func:`open_masks`.
        domains: domains to open; by default all in the folder.
        benchmark: classes and domains to expect; some of the domains may be absent.
        partial: whether classes may be absent or empty.

    Raises:
        FileNotFoundError: root, domain, class folder or mask is missing.
        UnreadableImageError: annotations are damaged or have no box.
        UnknownNameError: a folder or domain that the benchmark does not have.
        ValueError: an empty folder, fewer than two classes, or two folders of the same name.
    """
    root = _root(config, benchmark)
    aliases = benchmark.aliases if benchmark else {}
    found = _domain_folders(root, config, benchmark)
    names = benchmark.domains if benchmark else tuple(found)
    if domains is None:
        domains = [name for name in names if name in found]
    wanted = select_names(domains, names, aliases=aliases, kind=f"domains of {config.name}")
    for name in wanted:
        if name not in found:
            raise FileNotFoundError(
                f"{root} has no folder for domain {name!r}, only {', '.join(found)}. {_LAYOUT} "
                "Add the folder, or choose one of these domains."
            )
    class_folders = {name: _by_name(_subfolders(found[name]), benchmark, "classes") for name in wanted}
    classes = benchmark.classes if benchmark else tuple(sorted(set().union(*class_folders.values())))
    if len(classes) < 2 and not partial:
        raise ValueError(f"{root} has fewer than two classes ({', '.join(classes)}). {_ANY_LAYOUT}")
    masks = open_masks(config.masks_dir) if config.masks_dir else None
    opened = [
        _open_domain(name, found[name], classes, class_folders[name], config, masks, partial)
        for name in wanted
    ]
    if masks and not any(domain.has_masks for domain in opened):
        raise FileNotFoundError(
            f"No image of {', '.join(wanted)} has a mask in {config.masks_dir}. Expected masks named "
            "like the images, <domain>/<class>/<stem>.png or .xml, or a COCO file that lists them."
        )
    return MultiDomain(config.name, opened, aliases=aliases)


SOURCES.register("folder")(open_folder)


@dataclass(frozen=True)
class _Files:
    """Reads the image and mask files at a position."""

    images: Sequence[Path]
    masks: Sequence[Mask] | None

    def __call__(self, index: int) -> tuple[Image.Image, Image.Image | None]:
        path = self.images[index]
        image = read_image(path, name=str(path))
        return image, self.masks[index].draw(image.size) if self.masks else None


def _root(config: DataConfig, benchmark: Benchmark | None) -> Path:
    if config.dir is None:
        folders = f" with the folders {', '.join(benchmark.domains)}" if benchmark else ""
        raise FileNotFoundError(
            f"Data set {config.name!r} needs a folder (--data.dir){folders}. "
            f"{_LAYOUT if benchmark else _ANY_LAYOUT} "
            "Download it first (DomainBed's download script creates this layout), "
            "or use --data synthetic, which needs no download."
        )
    root = Path(config.dir).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"data.dir {root} is not a folder. {_LAYOUT if benchmark else _ANY_LAYOUT}")
    return root


def _domain_folders(root: Path, config: DataConfig, benchmark: Benchmark | None) -> dict[str, Path]:
    masks = Path(config.masks_dir).expanduser().resolve() if config.masks_dir else None
    folders = [folder for folder in _subfolders(root) if folder.resolve() != masks]
    if not folders:
        raise FileNotFoundError(f"data.dir {root} has no folders. {_LAYOUT if benchmark else _ANY_LAYOUT}")
    if not benchmark and any(_holds_images(folder) for folder in folders):
        return {root.resolve().name: root}
    return _by_name(folders, benchmark, "domains")


def _by_name(
    folders: Sequence[Path], benchmark: Benchmark | None, kind: Literal["domains", "classes"]
) -> dict[str, Path]:
    """Folders of domains or classes by name, in the spelling of the benchmark."""
    if not benchmark:
        return {folder.name: folder for folder in folders}
    names, kind_of = getattr(benchmark, kind), f"{kind} of {benchmark.name}"
    named: dict[str, Path] = {}
    for folder in folders:
        try:
            name = resolve_name(folder.name, names, aliases=benchmark.aliases, kind=kind_of)
        except UnknownNameError as error:
            raise UnknownNameError(f"{folder}: {error} Rename or remove the folder.") from None
        if name in named:
            raise ValueError(f"{named[name]} and {folder} are both {name!r}. Remove one of them.")
        named[name] = folder
    return named


def _open_domain(
    name: str,
    folder: Path,
    classes: Sequence[str],
    folders: dict[str, Path],
    config: DataConfig,
    masks: Masks | None,
    partial: bool,
) -> Domain:
    keys: list[str] = []
    labels: list[int] = []
    images: list[Path] = []
    for label, class_name in enumerate(classes):
        if class_name not in folders and not partial:
            raise FileNotFoundError(
                f"{folder} has no folder for class {class_name!r}, only {', '.join(folders) or 'nothing'}. "
                "Every domain needs every class: add the folder with its images."
            )
        files = find_images(folders[class_name]) if class_name in folders else []
        if not files and not partial:
            raise ValueError(f"{folders[class_name]} holds no images. Add images, or restore the folder.")
        names = [file.relative_to(folders[class_name]).as_posix() for file in files]
        keys += [f"{class_name}/{unicodedata.normalize('NFC', name)}" for name in names]
        labels += [label] * len(files)
        images += files
    found = masks(name, folder, images, [classes[label] for label in labels]) if masks else None
    return Domain(
        dataset=config.name,
        name=name,
        classes=tuple(classes),
        labels=np.array(labels, dtype=np.int64),
        keys=tuple(keys),
        read=_Files(images, found),
        has_masks=found is not None,
        split_seed=config.split_seed,
    )


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(Path(entry) for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _holds_images(folder: Path) -> bool:
    suffixes = image_suffixes()
    return any(file.suffix.lower() in suffixes and file.name[0] != "." for file in folder.iterdir())
