"""Image data sets from the Hugging Face Hub."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import datasets
import numpy as np
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image

from egat_hub.data.config import DataConfig
from egat_hub.data.domains import Domain, MultiDomain, select_names
from egat_hub.data.images import UnreadableImageError, read_image, read_mask

HUB_ERRORS: tuple[type[Exception], ...] = (OSError, *HfHubHTTPError.__bases__)
"""Errors of requests to the Hub; the bases include the HTTP library's own errors, whichever it is."""


def open_hub(config: DataConfig, domains: Sequence[str] | None = None) -> MultiDomain:
    """Open a Hub data set by its id; its splits are joined and split again 60/20/20.

    Domains are the configurations of the repository if it has several, else the values of a ``domain``
    column, else there is one domain named after the repository. Other columns are ``image``, ``label`` (a
    ``ClassLabel``) and, optionally, ``mask``.

    Args:
        config: ``name`` is the id; ``dir`` selects a folder of the repository.
        domains: domains to open; all by default.

    Raises:
        FileNotFoundError: the data set does not exist, is private, or the Hub cannot be reached.
        UnknownNameError: no such domain.
        ValueError: a column is missing or has another type, classes differ between domains, an image has
            no label, fewer than two classes, or fewer than three images of a class.
    """
    kind = f"domains of {config.name}"
    try:
        subsets = datasets.get_dataset_config_names(config.name)
        if len(subsets) > 1:
            names = select_names(domains, subsets, kind=kind)
            parts = {name: _load(config, name) for name in names}
        else:
            parts = _by_domain(_load(config, subsets[0]), config)
            names = select_names(domains, parts, kind=kind)
    except HUB_ERRORS as error:
        raise FileNotFoundError(
            f"Cannot open {config.name!r} from the Hub: {' '.join(str(error).split())} "
            "Check the id and the connection, and log in if the data set is private."
        ) from error
    return MultiDomain(config.name, [_open_domain(name, parts[name], config) for name in names])


@dataclass(frozen=True)
class _Rows:
    """Reads the image and mask of a row."""

    table: datasets.Dataset
    names: Sequence[str]

    def __call__(self, index: int) -> tuple[Image.Image, Image.Image | None]:
        row, name = self.table[index], self.names[index]
        image = read_image(_file(row["image"], name), name=name)
        if "mask" not in row:
            return image, None
        return image, read_mask(_file(row["mask"], name), name=f"mask of {name}", size=image.size)


def _load(config: DataConfig, subset: str) -> datasets.Dataset:
    splits = datasets.load_dataset(config.name, subset, data_dir=config.dir)
    features = next(iter(splits.values())).features
    if not isinstance(features.get("image"), datasets.Image) or not isinstance(
        features.get("label"), datasets.ClassLabel
    ):
        raise ValueError(
            f"{config.name} ({subset}) must have a column 'image' of type Image and a column 'label' of type "
            f"ClassLabel, got {dict(features)}. Rename or cast the columns of the data set."
        )
    keyed = [
        table.add_column("key", [f"{split}/{row:06d}" for row in range(len(table))])
        for split, table in splits.items()
    ]
    joined = datasets.concatenate_datasets(keyed)
    for column in {"image", "mask"} & set(features):
        joined = joined.cast_column(column, datasets.Image(decode=False))
    return joined


def _by_domain(table: datasets.Dataset, config: DataConfig) -> dict[str, datasets.Dataset]:
    if "domain" not in table.column_names:
        return {config.name.rstrip("/").rpartition("/")[2]: table}
    feature, values = table.features["domain"], np.array(table["domain"])
    members = {value: np.flatnonzero(values == value) for value in np.unique(values)}
    if isinstance(feature, datasets.ClassLabel):
        return {feature.int2str(int(value)): table.select(rows) for value, rows in members.items()}
    return {str(value): table.select(rows) for value, rows in members.items()}


def _open_domain(name: str, table: datasets.Dataset, config: DataConfig) -> Domain:
    classes = table.features["label"].names
    labels = np.array(table["label"], dtype=np.float64)
    if len(classes) < 2:
        raise ValueError(f"{config.name} has fewer than two classes ({', '.join(classes)}).")
    if not (labels >= 0).all():
        raise ValueError(
            f"{np.count_nonzero(~(labels >= 0))} images of {config.name}/{name} have no label. "
            "Remove these rows from the data set."
        )
    keys = tuple(table["key"])
    return Domain(
        dataset=config.name,
        name=name,
        classes=tuple(classes),
        labels=labels.astype(np.int64),
        keys=keys,
        read=_Rows(table, [f"{config.name}/{name}/{key}" for key in keys]),
        has_masks="mask" in table.column_names,
        split_seed=config.split_seed,
    )


def _file(value: dict[str, bytes | str | None] | None, name: str) -> io.BytesIO:
    if value is None:
        raise UnreadableImageError(f"{name}: the row has no image")
    content = value["bytes"]
    if content is None:
        with open(str(value["path"]), "rb") as file:
            content = file.read()
    return io.BytesIO(content)  # type: ignore[arg-type]
