"""All tables of an experiment."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from egat_hub.experiments.tables.differences import differences
from egat_hub.experiments.tables.explanations import explanations
from egat_hub.experiments.tables.formats import markdown, write_tables
from egat_hub.experiments.tables.in_domain import in_domain
from egat_hub.experiments.tables.legend import legend
from egat_hub.experiments.tables.out_of_domain import out_of_domain
from egat_hub.experiments.tables.published import Published
from egat_hub.experiments.tables.table import Table
from egat_hub.experiments.variants import ABLATION, GOLDEN, SENSITIVITY, VARIANTS
from egat_hub.results import Outcome, Row


@dataclass(frozen=True)
class Section:
    """Tables that belong together under a heading."""

    heading: str
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Report:
    """Sections of tables, and sentences on how to read them."""

    sections: tuple[Section, ...]
    notes: tuple[str, ...]

    @property
    def tables(self) -> list[Table]:
        """The tables of all sections."""
        return [table for section in self.sections for table in section.tables]

    def markdown(self) -> str:
        """The whole report as Markdown."""
        parts = []
        for section in self.sections:
            parts.append(f"## {section.heading}\n")
            parts += [f"### {table.title}\n\n{markdown(table)}\n" for table in section.tables]
        return "\n".join([*parts, "\n".join(f"- {note}" for note in self.notes)]) + "\n"

    def write(self, folder: Path, name: str = "table") -> None:
        """Write ``<name>.md``, ``<name>.tex`` and ``<name>.csv``."""
        write_tables(folder, name, self.markdown(), self.tables)


def report(
    outcomes: Sequence[Outcome],
    published: Published | None = None,
    *,
    epsilon: float | None = None,
    reference: str = "egat",
) -> Report:
    """Tables I to IV of the EGAT paper as far as there are rows for them, more on maps, differences.

    Variants of EGAT are in the tables of their own study only: those of Table IV beside EGAT and ERM, those
    of Table III beside EGAT and the rivals that the paper compares there.

    Args:
        outcomes: what was measured on one data set with one network.
        published: figures of a paper on the same data set.
        epsilon: budget beside which published robust accuracy stands; by default the smallest.
        reference: method that the others are compared with.
    """
    published = published or Published()
    rows = [outcome.row for outcome in outcomes]
    methods = [row for row in rows if row.method not in VARIANTS]
    ablation = _beside(rows, ABLATION, ("erm", reference))
    sensitivity = _beside(rows, {**SENSITIVITY, **GOLDEN}, ("igr", "sgdrop", reference))
    compared = tuple(differences([o for o in outcomes if o.row.method not in VARIANTS], reference))
    sections = [
        Section("In domain", tuple(in_domain(methods, published, epsilon))),
        Section("Out of domain", tuple(out_of_domain(methods, published))),
        Section("Ablation", tuple(in_domain(ablation, published, epsilon))),
        Section(
            "Sensitivity to explanation and guide",
            (*in_domain(sensitivity, published, epsilon), *out_of_domain(sensitivity, published)),
        ),
        Section("Explanations", tuple(explanations(methods))),
        Section(f"{reference} against the others on the same images, with 95 % intervals", compared),
    ]
    sections = [section for section in sections if section.tables]
    entries = [e for s in sections for t in s.tables for line in t.lines.values() for e in line]
    notes = legend(
        rows,
        published=any(entry.published is not None for entry in entries),
        suspect=any(entry.suspect and entry.published is not None for entry in entries),
        intervals=bool(compared),
    )
    return Report(tuple(sections), tuple(notes))


def _beside(rows: Sequence[Row], variants: Collection[str], others: Collection[str]) -> list[Row]:
    """Rows of variants and of what they are compared with; none without a variant."""
    if not any(row.method in variants for row in rows):
        return []
    return [row for row in rows if row.method in {*variants, *others}]
