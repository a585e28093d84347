"""``egat-hub list``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from egat_hub.cli.main import Answer
from egat_hub.hub import zoo


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
    methods: bool = False,
    attacks: bool = False,
    explanations: bool = False,
) -> Answer:
    """List models: those that ship with the package, those on the Hub, or those saved in folders.

    Without folders, lists the models that ship with the package and, with --hub, those on the Hub. Some ship
    with card and results only.

    example: egat-hub list runs/vlcs --leaderboard

    Args:
        folders: folders that are searched for saved models.
        dataset: data set trained on; in names, * stands for anything and case is ignored.
        architecture: timm's name of the network, such as 'resnet*'.
        method: training method.
        attack: only models with robust accuracy under this attack.
        epsilon: only models with robust accuracy at this epsilon, in [0, 1].
        hub: list models on the Hub too.
        author: only models of this user or organization on the Hub.
        leaderboard: compare results, the best model first; a column holds results of one protocol.
        by: metric that orders the leaderboard.
        methods: list training methods instead.
        attacks: list attacks instead.
        explanations: list explanations instead.
    """
    if methods or attacks or explanations:
        return _registered(methods, attacks, explanations)
    if folders and (hub or author is not None):
        raise ValueError("Expected folders, or --hub and --author, got both; ask for one at a time.")
    found = zoo.find_models(
        folders=folders,
        dataset=dataset,
        architecture=architecture,
        method=method,
        attack=attack,
        epsilon=epsilon,
        hub=hub,
        author=author,
    )
    if not found:
        raise ValueError(
            "No model matches; 'egat-hub list' without options shows all that ship with the package."
        )
    return _leaderboard(found, by) if leaderboard else _models(found)


def _models(found: Sequence[zoo.ModelInfo]) -> Answer:
    entries = [
        {
            "name": info.name,
            "weights": info.location,
            "timm_name": info.timm_name,
            "classes": len(info.label_names),
            "method": info.method,
            "dataset": info.dataset,
            "results": len(info.rows),
        }
        for info in found
    ]
    return Answer(text=tabulate(entries, headers="keys"), data=entries)


def _leaderboard(found: Sequence[zoo.ModelInfo], by: str) -> Answer:
    from egat_hub.hub.tables import leaderboard

    board = leaderboard({info.name: info.rows for info in found}, by=by)
    lines = [
        {
            **{field: getattr(line, field) for field in line._fields if field != "figures"},
            "figures": {str(heading): summary._asdict() for heading, summary in line.figures.items()},
        }
        for line in board.lines
    ]
    return Answer(text=board.text(), data=lines)


def _registered(methods: bool, attacks: bool, explanations: bool) -> Answer:
    """Names of registered methods, attacks and explanations, with the first line of their documentation."""
    from egat_hub.attacks import ATTACKS
    from egat_hub.explanations import EXPLANATIONS
    from egat_hub.methods import METHODS

    entries = [
        {"kind": kind, "name": name, "about": (item.__doc__ or "").splitlines()[0]}
        for kind, wanted, registry in (
            ("method", methods, METHODS),
            ("attack", attacks, ATTACKS),
            ("explanation", explanations, EXPLANATIONS),
        )
        if wanted
        for name, item in registry.items()
    ]
    return Answer(text=tabulate(entries, headers="keys"), data=entries)
