"""Outcomes as a table of a Markdown page."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import timm

from egat_hub.experiments.families.outcome import Outcome
from egat_hub.whole_file import write_whole

BEGIN, END = "<!-- families: begin -->", "<!-- families: end -->"
HEADER = ("family", "model", "parameters", "image size", "head", "features from", "grid", "result")
ROW = re.compile(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", re.MULTILINE)


def summary(outcomes: Iterable[Outcome]) -> str:
    """How many families work, are refused and fail."""
    outcomes = list(outcomes)
    kinds = Counter(outcome.kind for outcome in outcomes)
    return (
        f"{len(outcomes)} of the {len(timm.list_modules())} families of timm {timm.__version__} tried: "
        f"{kinds['works']} work, {kinds['refused']} are refused, {kinds['fails']} fail."
    )


def table(outcomes: Iterable[Outcome]) -> str:
    """A Markdown table, one line a family, and the summary."""
    outcomes = sorted(outcomes, key=lambda outcome: outcome.family)
    lines = [_line(HEADER), _line(["---"] * len(HEADER))]
    for one in outcomes:
        cells = (
            f"`{one.family}`",
            f"`{one.model}`" if one.model else "",
            f"{one.millions:.1f} M" if one.millions else "",
            str(one.image_size or ""),
            one.head_form,
            f"`{one.feature_layer}`" if one.feature_layer else "",
            f"{one.grid} x {one.grid}" if one.grid else "",
            one.result.replace("|", "/"),
        )
        lines.append(_line(cells))
    return "\n".join([*lines, "", summary(outcomes)])


def read_table(text: str) -> dict[str, str]:
    """Results by family, as the table of a page has them."""
    return {family: result.strip() for family, result in ROW.findall(_between(text))}


def put_table(page: Path, outcomes: Iterable[Outcome]) -> None:
    """Put the table between the two marks of a page.

    Raises:
        ValueError: the page does not have both marks, once each and in order.
    """
    text = page.read_text()
    old = _between(text)
    write_whole(page, text.replace(BEGIN + old + END, f"{BEGIN}\n{table(outcomes)}\n{END}"))


def _between(text: str) -> str:
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"Expected a page with {BEGIN} and, after it, {END}, once each.")
    return text.partition(BEGIN)[2].partition(END)[0]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
