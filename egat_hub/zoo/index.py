"""The models that the package knows by name: an index that ships with it."""

from __future__ import annotations

from importlib.resources import as_file, files

from egat_hub.zoo.model import ZooModel


def shipped() -> list[ZooModel]:
    """The entries of the index, one file each in ``egat_hub.model_cards``, by name."""
    found = []
    for entry in files("egat_hub.model_cards").iterdir():
        if entry.name.endswith(".json"):
            with as_file(entry) as path:
                found.append(ZooModel.read(path))
    return sorted(found, key=lambda model: model.name)
