"""``egat-hub push``."""

from __future__ import annotations

from pathlib import Path

from egat_hub.cli.main import Answer


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
