"""The comparison of methods as a Markdown table, with published figures beside."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from tabulate import tabulate

from egat_hub.card_tables import protocol_text
from egat_hub.results import Row, Summary

MEANINGS = {
    "cAcc": "clean accuracy on the test split; OOD is its mean over the test splits of other domains",
    "aAcc": "share that stays correct under the attack, by epsilon",
    "Comp": "fall of the probability without the most salient pixels, higher is better; random: a random map",
    "Suff": "fall of the probability with the most salient pixels alone, lower is better",
    "Stability": "share of the top 20 % pixels that stays under the attack, from 0 to 1",
}

AVERAGE = "average"

Published = Mapping[tuple[str, str, str], float]
"""Published figures by method, training domain and column."""


class Column(NamedTuple):
    """A column of the table: which rows it summarises, which published metric stands beside, digits shown."""

    title: str
    holds: Callable[[Row], bool]
    published: str = ""
    digits: int = 1


def comparison(rows: Sequence[Row], paper: Sequence[Path] = ()) -> str:
    """One table for each training domain and one for their average, in Markdown.

    A cell is the mean over seeds, with the sample standard deviation where there are several, and the
    published figure in brackets where there is one. Out-of-domain accuracy (OOD) is the mean over the other
    domains.

    Args:
        rows: of one data set and one network.
        paper: CSV files of published figures (dataset, method, train_domain, test_domain, metric, value).
    """
    published = _read(paper, rows)
    columns = _columns(rows)
    values = {column.title: _by_seed(rows, column) for column in columns}
    domains = list(dict.fromkeys(row.train_domain for row in rows))
    methods = list(dict.fromkeys(row.method for row in rows))
    blocks = []
    for domain in [*domains, *([AVERAGE] if len(domains) > 1 else [])]:
        lines = [
            [
                method,
                *(
                    _cell(
                        values[column.title].get((method, domain), {}),
                        published.get((method, domain, column.published)),
                        column.digits,
                    )
                    for column in columns
                ),
            ]
            for method in methods
        ]
        table = tabulate(lines, ["method", *(c.title for c in columns)], "github", disable_numparse=True)
        n = next((row.n for row in rows if row.train_domain == row.test_domain == domain), None)
        images = f", n = {n} test images" if n else ""
        blocks.append(f"### {rows[0].model}, {rows[0].dataset}, trained on {domain}{images}\n\n{table}\n")
    return "\n".join([*blocks, _legend(rows, bool(published))])


def _columns(rows: Iterable[Row]) -> list[Column]:
    epsilons = sorted({row.protocol["epsilon"] for row in rows if row.metric == "aAcc"})
    columns = [
        Column("cAcc", lambda row: row.metric == "cAcc" and row.test_domain == row.train_domain, "cAcc")
    ]
    columns += [
        Column(f"aAcc {epsilon:.4g}", _attacked_at(epsilon), "aAcc" if epsilon == epsilons[0] else "")
        for epsilon in epsilons
    ]
    columns += [Column(name, _judged(name, "model"), name) for name in ("Comp", "Suff")]
    columns += [Column(f"{name} random", _judged(name, "random")) for name in ("Comp", "Suff")]
    columns += [
        Column(
            f"stability {min(epsilons, default=0):.4g}",
            lambda row: row.protocol.get("measure") == "topk_overlap",
            digits=2,
        ),
        Column("OOD", lambda row: row.metric == "cAcc" and row.test_domain != row.train_domain, "OOD"),
    ]
    return [column for column in columns if any(map(column.holds, rows))]


def _attacked_at(epsilon: float) -> Callable[[Row], bool]:
    return lambda row: row.metric == "aAcc" and row.protocol["epsilon"] == epsilon


def _judged(metric: str, judged: str) -> Callable[[Row], bool]:
    return lambda row: row.metric == metric and row.protocol["map"] == judged


def _by_seed(rows: Iterable[Row], column: Column) -> dict[tuple[str, str], dict[int, float]]:
    """Mean over test domains by (method, training domain) and seed; and over training domains as well."""
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    for row in rows:
        if column.holds(row):
            for domain in (row.train_domain, AVERAGE):
                found.setdefault((row.method, domain), {}).setdefault(row.seed, []).append(row.value)
    complete = max(
        (len(v) for (_, d), seeds in found.items() if d == AVERAGE for v in seeds.values()), default=0
    )
    return {
        key: {seed: fmean(v) for seed, v in seeds.items() if key[1] != AVERAGE or len(v) == complete}
        for key, seeds in found.items()
    }


def _cell(by_seed: Mapping[int, float], published: float | None, digits: int) -> str:
    if not by_seed:
        return "-"
    summary = Summary.of(list(by_seed.values()))
    spread = f" ± {summary.sd:.{digits}f}" if summary.n > 1 else ""
    return f"{summary.mean:.{digits}f}{spread}" + (
        f" [{published:.{digits}f}]" if published is not None else ""
    )


def _read(paper: Iterable[Path], rows: Sequence[Row]) -> Published:
    """Published figures of the same cells as ``rows``; averages only where none of their cells is missing."""
    lines = [line for path in paper for line in csv.DictReader(path.read_text().splitlines())]
    pairs = {(row.train_domain, row.test_domain) for row in rows}
    found: dict[tuple[str, str, str], list[float]] = {}
    for line in lines:
        train, test = line["train_domain"], line["test_domain"]
        if line["dataset"] != rows[0].dataset or line["metric"] == "rank" or (train, test) not in pairs:
            continue
        for domain in (train, AVERAGE):
            column = line["metric"] if train == test else "OOD"
            found.setdefault((line["method"], domain, column), []).append(float(line["value"]))

    def wanted(domain: str, column: str) -> int:
        return sum(
            (train == test) == (column != "OOD") and domain in (train, AVERAGE) for train, test in pairs
        )

    return {key: fmean(values) for key, values in found.items() if len(values) == wanted(*key[1:])}


def _legend(rows: Sequence[Row], published: bool) -> str:
    seeds = sorted({row.seed for row in rows})
    sentences = [
        f"Percent; seeds {', '.join(map(str, seeds))}"
        + (", mean ± standard deviation over seeds of one and the same split." if len(seeds) > 1 else ".")
    ]
    rules = sorted({row.selection for row in rows} - {""})
    sentences += [f"Weights kept of a run: {', '.join(rules)}."] if rules else []
    for metric, meaning in MEANINGS.items():
        protocols = {
            protocol_text({k: v for k, v in row.protocol.items() if k not in ("epsilon", "map", "measure")})
            for row in rows
            if row.metric == metric
        }
        if metric in {row.metric for row in rows}:
            protocol = f" ({'; '.join(sorted(protocols - {''}))})" if protocols - {""} else ""
            sentences.append(f"{metric}: {meaning}{protocol}.")
    if published:
        sentences.append(
            "In brackets: the figure of the paper under its own protocol, whose epsilon is not legible."
        )
    return "\n".join(f"- {sentence}" for sentence in sentences) + "\n"
