"""``egat-hub card``."""

from __future__ import annotations

from pathlib import Path

from egat_hub.cli.main import Answer
from egat_hub.core.files import atomic_write_text
from egat_hub.hub.layout import MANIFEST, model_folder


def card(model: Path, *, output: Path | None = None, repo_id: str | None = None) -> Answer:
    """Write the model card of a saved model from its files.

    Saving and pushing a model write its card too.

    example: egat-hub card runs/demo/<run> --output card.md

    Args:
        model: folder of a saved model, or of a run that holds one.
        output: file to write; default: print the card.
        repo_id: org/name of the model on the Hub, for the instructions in the card.
    """
    from egat_hub.hub.cards import card_text

    folder = model_folder(model.expanduser())
    if not (folder / MANIFEST).is_file():
        raise FileNotFoundError(
            f"Expected the folder of a saved model or of a run, found no {MANIFEST} in {folder}. To download "
            "a model from the Hub, use 'egat-hub pull'."
        )
    text = card_text(folder, repo_id=repo_id)
    if output is None:
        return Answer(text=text, data={"card": text})
    atomic_write_text(output, text)
    return Answer(text=f"Wrote {output}", data={"card": text, "file": str(output)})
