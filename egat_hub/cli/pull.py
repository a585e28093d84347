"""``egat-hub pull``."""

from __future__ import annotations

import shutil
from pathlib import Path

from egat_hub.cli.main import Answer
from egat_hub.core.files import atomic_folder
from egat_hub.hub.layout import CARD, is_replaceable


def pull(model: str, *, revision: str | None = None, output: Path | None = None) -> Answer:
    """Download a model from the Hub into a folder.

    The model is loaded and checked first, and its card is written from its results. An earlier model in the
    folder is replaced.

    example: egat-hub pull org/name@v1.0 --output models/name

    Args:
        model: org/name on the Hub, or org/name@revision.
        revision: branch, tag or commit.
        output: folder to write; default: the name of the model.
    """
    from egat_hub.hub.cards import card_text
    from egat_hub.hub.loading import FILES, load_folder
    from egat_hub.hub.remote import download

    repo_id, _, in_name = model.removeprefix("hf-hub:").partition("@")
    fetched = download(repo_id, FILES, revision=revision or in_name or None)
    load_folder(fetched)
    folder = output or Path(repo_id.rpartition("/")[2])
    with atomic_folder(folder.expanduser(), may_hold=is_replaceable) as partial:
        for name in FILES:
            if (fetched / name).is_file():
                shutil.copyfile(fetched / name, partial / name)
        (partial / CARD).write_text(card_text(partial, repo_id=repo_id), encoding="utf-8")
    data = {"model": repo_id, "commit": fetched.name, "folder": str(folder)}
    return Answer(text=f"Downloaded {repo_id} at {fetched.name[:10]} to {folder}", data=data)
