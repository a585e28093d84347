"""One row a method hides a trade-off: sweep the weight that buys robustness, and look at the front."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from egat_hub.experiments.command import start
from egat_hub.experiments.experiment import Experiment, Finished
from egat_hub.experiments.front_plot import front_figure
from egat_hub.experiments.pages import Page, by_domain, publish
from egat_hub.experiments.points import Point
from egat_hub.experiments.tables import Published, Table, report
from egat_hub.experiments.tables.in_domain import attacked, in_domain
from egat_hub.experiments.variants import VARIANTS, Variant

SWEEPS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "egat": ("lambda_adv", (0.1, 0.5, 2.0, 6.0)),
    "trades": ("beta", (1.0, 3.0, 6.0, 12.0)),
    "pgd_at": ("epsilon", (0.25, 0.5, 1.0, 2.0)),
    "igr": ("lambda_igr", (0.01, 0.1, 1.0, 10.0)),
    "ign": ("lambda_ign", (0.01, 0.1, 0.5, 1.0)),
}
"""The field that a method is swept over, and its values; those of epsilon count in the experiment's."""


def main(benchmark: str, *, description: str, arguments: Sequence[str] | None = None) -> None:
    """Train every method of the command line at every value of its weight, and draw the fronts.

    The output folder ends up with ``front_<domain>.png``, ``front.md``, ``front.tex``, ``front.csv``,
    ``front.json``, ``front.yaml`` and a folder for each run; runs of another experiment there are used.

    Args:
        benchmark: data set used unless ``--data`` says otherwise.
        description: for ``--help``.
        arguments: the command line; by default the program's.
    """
    ready = start(benchmark, description=description, arguments=arguments, adapt=sweep, kept_as="front.yaml")
    publish(ready, "front", partial(_pages, ready.experiment))


def _pages(experiment: Experiment, finished: Finished) -> dict[str, Page]:
    return {domain: _page(experiment, mine) for domain, mine in by_domain(finished).items()}


def _page(experiment: Experiment, finished: Finished) -> Page:
    outcomes = [outcome for _, found in finished for outcome in found]
    rows = [row for row, _ in outcomes]
    tables = report(outcomes, epsilon=experiment.epsilon)
    (table,) = in_domain(rows, Published())
    points = [*front(table, experiment.variants, experiment.epsilon)]
    text = [tables.markdown(), f"## Fronts: {table.title}\n", *(f"- {line}" for line in verdicts(points)), ""]
    return Page(text, tables.tables, rows, front_figure(points, table.title, tables.notes))


def sweep(experiment: Experiment) -> Experiment:
    """The experiment with each method at its own setting and at every value of its weight.

    Raises:
        ValueError: a search, which would choose one setting where the front wants them all.
    """
    if experiment.grid:
        raise ValueError("A front shows every value of a weight; leave out --search.")
    return replace(experiment, variants=tuple(v for base in experiment.variants for v in _swept(base)))


def _swept(base: Variant) -> Iterator[Variant]:
    yield base
    if base.name in SWEEPS:  # not the ablation, whose names are others
        field, values = SWEEPS[base.method]
        config: Any = base.config
        scale = config.epsilon if field == "epsilon" else 1.0
        for value in (scale * value for value in values):
            if value != getattr(config, field):
                name = f"{base.name} {field}={value:g}"
                yield Variant(name, base.method, replace(config, **{field: value}))


def front(table: Table, variants: Sequence[Variant], epsilon: float) -> Iterator[Point]:
    """The points of a table of in-domain figures, with robust accuracy at ``epsilon``, as far as measured."""
    titles = {"cAcc": "cAcc", "aAcc": attacked(epsilon), "Comp": "Comp", "Suff": "Suff"}
    for variant in variants:
        entries = dict(zip(table.columns, table.lines.get(variant.name, ()), strict=False))
        figures = {
            name: summary
            for name, title in titles.items()
            if title in entries and (summary := entries[title].summary)
        }
        if {"cAcc", "aAcc"} <= figures.keys():
            method = variant.name if variant.name in VARIANTS else variant.method
            field = SWEEPS[method][0] if method in SWEEPS else ""
            weight = getattr(variant.config, field) if field else None
            yield Point(method, variant.name, field, weight, variant.name == method, figures)


def verdicts(points: Sequence[Point]) -> Iterator[str]:
    """For each point, which others have both higher clean and higher robust accuracy on average."""
    for point in points:
        better = [other.name for other in points if other.dominates(point)]
        clean, robust = (point.figures[name].mean for name in ("cAcc", "aAcc"))
        verdict = f"dominated by {', '.join(better)}" if better else "not dominated"
        yield f"{point.name} ({clean:.1f} clean, {robust:.1f} robust): {verdict}"
