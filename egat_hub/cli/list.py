"""``egat-hub list``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tabulate import tabulate

from egat_hub.cli.main import Answer
from egat_hub.hub import leaderboard as leaderboards
from egat_hub.hub import zoo
from egat_hub.hub.layout import MANIFEST
from egat_hub.hub.leaderboard import METRICS

Named = tuple[str, zoo.ZooModel]


def list(
    folders: tuple[Path, ...] = (),
    *,
    dataset: str | None = None,
    architecture: str | None = None,
    method: str | None = None,
    attack: str | None = None,
    epsilon: float | None = None,
    hub: bool = False,
    author: str | None = None,
    leaderboard: bool = False,
    by: str = "robust_accuracy",
) -> Answer:
    """List the models of this release, of the Hub, or those saved in folders.

    Lists the models that this release knows and, with --hub, those on the Hub; with folders, the saved models
    in them and nothing else. Where weights are not published, card and figures are. In a leaderboard, figures
    share a column only if their whole protocol is equal.

    example: egat-hub list runs/vlcs --leaderboard

    Args:
        folders: folders that are searched for saved models.
        dataset: name of the data set trained on; of names, case does not count, and * stands for anything.
        architecture: name of the network in timm, such as 'resnet*'.
        method: name of the training method.
        attack: only models whose accuracy under this attack was measured.
        epsilon: only models whose accuracy at this epsilon, in [0, 1], was measured.
        hub: ask the Hub too.
        author: only models of this user or organisation on the Hub.
        leaderboard: print measured figures side by side, the best first.
        by: metric that orders the leaderboard.
    """
    wanted = {"dataset": dataset, "architecture": architecture, "method": method, "attack": attack}
    if not folders:
        found = zoo.list_models(**wanted, epsilon=epsilon, hub=hub, author=author)
        named = [(model.source, model) for model in found]
    elif hub or author is not None:
        raise ValueError("Expected folders, or --hub and --author, got both; ask for one at a time.")
    else:
        named = [pair for pair in _saved(folders) if pair[1].matches(**wanted, epsilon=epsilon)]
    return _board(named, by) if leaderboard else _listed(named)


def _saved(folders: Sequence[Path]) -> Iterator[Named]:
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"Expected a folder with saved models, found none at {folder}.")
        for manifest in sorted(folder.rglob(MANIFEST)):
            yield str(manifest.parent), zoo.ZooModel.of_folder(manifest.parent)


def _listed(named: Sequence[Named]) -> Answer:
    entries = [
        {
            "source": source,
            "weights": model.place,
            "timm_name": model.name,
            "num_classes": model.num_classes,
            "method": model.metadata.get("method"),
            "dataset": model.metadata.get("dataset"),
            "figures": len(model.rows),
        }
        for source, model in named
    ]
    table = tabulate(entries, headers="keys", missingval="-")
    return Answer(text=table or "No model found.", data=entries)


def _board(named: Sequence[Named], by: str) -> Answer:
    metrics = dict.fromkeys((*METRICS, by))
    board = leaderboards.leaderboard(
        {source: model.rows for source, model in named}, metrics=tuple(metrics), by=by
    )
    lines = [
        {
            **{field: getattr(line, field) for field in line._fields if field != "figures"},
            "figures": {str(heading): summary._asdict() for heading, summary in line.figures.items()},
        }
        for line in board.lines
    ]
    return Answer(text=board.text(), data=lines)
