"""``egat-hub pull``."""

from __future__ import annotations

import shutil
from pathlib import Path

from egat_hub.cli.main import Answer
from egat_hub.core.files import atomic_folder
from egat_hub.hub.layout import NEEDED, RESULTS, is_ours


def pull(model: str, *, revision: str | None = None, output: Path | None = None) -> Answer:
    """Fetch a model from the Hub into a folder, checked.

    The model is loaded and compared with its fingerprint first. The folder gets its weights, results and a
    card made from them, appears whole or not at all, and takes the place of an earlier model there.

    example: egat-hub pull org/name@v1.0 --output models/name

    Args:
        model: organisation/name on the Hub, or organisation/name@revision with a branch, tag or commit.
        revision: the branch, tag or commit, where it is not in the name.
        output: folder to make; by default the name of the model.
    """
    from egat_hub.hub.describing import describe
    from egat_hub.hub.fetching import Access, fetch
    from egat_hub.hub.layout import ModelId
    from egat_hub.hub.loading import load_folder

    wanted = ModelId.parse(model if revision is None else f"{model}@{revision}")
    fetched = fetch(wanted, Access(), names=(*NEEDED, RESULTS))
    load_folder(fetched)
    folder = output or Path(wanted.repo_id.rpartition("/")[2])
    with atomic_folder(folder.expanduser(), may_hold=is_ours) as partial:
        for name in (*NEEDED, RESULTS):
            shutil.copyfile(fetched / name, partial / name)
        for name, text in describe(partial, repo_id=wanted.repo_id).items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_text(text, encoding="utf-8")
    told = {"model": wanted.repo_id, "commit": fetched.name, "folder": str(folder)}
    return Answer(text=f"{wanted.repo_id} at {fetched.name[:10]} is now in {folder}", data=told)
