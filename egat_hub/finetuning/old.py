"""The domain that a model was trained on before it is fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass, replace

from egat_hub.collective import rank
from egat_hub.config import from_dict
from egat_hub.data import DataConfig, Domain, open_dataset
from egat_hub.finetuning.base import Base
from egat_hub.registry import UnknownNameError

GENERATED = "synthetic"


@dataclass(frozen=True)
class Old:
    """The domain, or why there is none.

    Attributes:
        domain: labels count the classes in the order of the model; its split is that of training.
        data: where it comes from.
        missing: why there is none, a sentence.
    """

    domain: Domain | None
    data: DataConfig | None = None
    missing: str = ""


def open_old(base: Base, name: str | None = None, data_dir: str | None = None) -> Old:
    """Open the old domain: by the metadata of the model and what is given here, or generated ones unasked.

    Args:
        base: the model; its classes are to be in their final order.
        name: the data set, by default the one in the metadata.
        data_dir: its folder.

    Raises:
        FileNotFoundError, UnreadableImageError, UnknownNameError: a data set that is named but not there.
        ValueError: one that is named for a model of which the domain is not known, or with other classes.
    """
    asked = bool(name or data_dir)
    try:
        return _open(base, name, data_dir, asked)
    except (ValueError, UnknownNameError) as error:
        if asked:
            raise
        return Old(None, missing=str(error))


def _open(base: Base, name: str | None, data_dir: str | None, asked: bool) -> Old:
    domain, recorded = base.metadata.get("train_domain"), base.metadata.get("data")
    if not domain or not isinstance(recorded, dict):
        raise ValueError(
            f"{base.name} does not say what it was trained on."
            + (" Leave --old-data and --old-data-dir out." if asked else "")
        )
    data = from_dict(DataConfig, {**recorded, "image_size": base.backbone.image_size})
    if not asked and data.name != GENERATED:
        return Old(None, missing=f"give --old-data-dir, the folder of {data.name} with its domain {domain}")
    data = replace(data, name=name or data.name, data_dir=data_dir)
    opened = open_dataset(data, [str(domain)], verify=rank() == 0)
    if not base.knows(opened.classes):
        raise ValueError(
            f"Expected the old data to have the classes of {base.name}, {', '.join(base.label_names)}; "
            f"{data.name} has {', '.join(opened.classes)}. Name the data that it was trained on."
        )
    return Old(opened[opened.domains[0]].ordered(base.label_names), data)
