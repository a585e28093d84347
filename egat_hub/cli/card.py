"""``egat-hub card``."""

from __future__ import annotations

from pathlib import Path

from egat_hub.cli.main import Answer
from egat_hub.core.files import atomic_write_text
from egat_hub.hub.layout import CARD, MANIFEST, model_folder


def card(model: Path, *, output: Path | None = None, repo_id: str | None = None) -> Answer:
    """Write the card of a saved model from its own files.

    Every figure in a card is one of results.json. Saving and pushing a model write its card by themselves;
    this shows it, or renews it after a change of the template.

    example: egat-hub card runs/demo/<run> --output card.md

    Args:
        model: folder of a saved model, or of a run that holds one.
        output: file to write; by default the card is printed.
        repo_id: organisation/name where the model is published, for the card's instructions.
    """
    from egat_hub.hub.describing import describe

    folder = model_folder(model.expanduser())
    if not (folder / MANIFEST).is_file():
        raise FileNotFoundError(
            f"Expected the folder of a saved model or of a run, found no {MANIFEST} in {folder}; models of "
            "the Hub get there with 'egat-hub pull'."
        )
    text = describe(folder, repo_id=repo_id)[CARD]
    if output is None:
        return Answer(text=text, data={"card": text})
    atomic_write_text(output, text)
    return Answer(text=str(output), data={"card": text, "file": str(output)})
