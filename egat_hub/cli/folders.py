"""Folders of saved models."""

from __future__ import annotations

from pathlib import Path

from egat_hub.hub.layout import MANIFEST


def model_folder(folder: Path) -> Path:
    """The folder of a saved model: itself, or ``model/`` in the folder of a run.

    Raises:
        FileNotFoundError: neither holds a saved model.
    """
    folder = folder.expanduser()
    for place in (folder, folder / "model"):
        if (place / MANIFEST).is_file():
            return place
    raise FileNotFoundError(
        f"Expected the folder of a saved model or of a run, found no {MANIFEST} in {folder}; models of the "
        "Hub get there with 'egat-hub pull'."
    )
