"""``egat-hub card``, ``pull`` and ``push``."""

from __future__ import annotations

import shutil
from pathlib import Path

from egat_hub.cli.main import Answer
from egat_hub.core.files import atomic_folder, atomic_write_text
from egat_hub.hub.layout import CARD, MANIFEST, is_replaceable, model_folder


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


def push(
    model: Path,
    repo_id: str,
    *,
    revision: str | None = None,
    private: bool = False,
    create_pr: bool = False,
    message: str | None = None,
) -> Answer:
    """Push a saved model to the Hub, in one commit.

    The model is loaded and checked first. Files that the Hub has already are not sent. Log in with
    'hf auth login'.

    example: egat-hub push runs/demo/<run> org/name --private

    Args:
        model: folder of a saved model, or of a run that holds one.
        repo_id: org/name; a new repository is created.
        revision: branch to commit to, created if it is missing; default: main.
        private: make a new repository private.
        create_pr: open a pull request instead of committing.
        message: first line of the commit.
    """
    from egat_hub.hub.saving import push_to_hub

    commit = push_to_hub(
        model,
        repo_id,
        revision=revision,
        private=private or None,
        create_pr=create_pr,
        commit_message=message,
    )
    place = commit.pr_url or commit.commit_url
    return Answer(text=f"Pushed {model} to {place}", data={"commit": commit.oid, "url": place})
