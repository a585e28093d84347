"""``egat-hub push``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from egat_hub.cli.main import Answer


def push(
    model: Path,
    repo_id: str,
    *,
    revision: str = "main",
    private: bool = False,
    create_pr: bool = False,
    message: str | None = None,
    dry_run: bool = False,
) -> Answer:
    """Publish a saved model on the Hub, in one commit.

    The model is loaded and checked first. Files that the Hub has are not sent again. Log in with
    'hf auth login'.

    example: egat-hub push runs/demo/<run> org/name --private --dry-run

    Args:
        model: folder of a saved model, or of a run that holds one.
        repo_id: organisation/name; a new repository is created.
        revision: branch to commit to, created if it is missing.
        private: make a new repository private.
        create_pr: open a pull request instead of committing.
        message: first line of the commit.
        dry_run: send nothing, say what would be sent.
    """
    from egat_hub.hub import push_to_hub

    made = push_to_hub(
        model,
        repo_id,
        revision=revision,
        private=private,
        create_pr=create_pr,
        commit_message=message,
        dry_run=dry_run,
    )
    return Answer(text=str(made), data=dataclasses.asdict(made))
