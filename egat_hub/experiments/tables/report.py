"""All tables of a comparison, with notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from egat_hub.core.results import SANITY_CHECK, Outcome, Row, failed_checks
from egat_hub.experiments.config import ABLATION, GOLDEN, SENSITIVITY, VARIANTS
from egat_hub.experiments.tables.columns import COMPARED, headline
from egat_hub.experiments.tables.comparisons import differences, explanations, in_domain, out_of_domain
from egat_hub.experiments.tables.table import Entry, Published, Table, heading, markdown, write_tables
from egat_hub.hub.tables import protocol_text
from egat_hub.metrics import METRICS
from egat_hub.metrics.faithfulness import RANDOM_MAP_CHECKS


def _notes(rows: Sequence[Row], entries: Sequence[Entry], *, intervals: bool) -> list[str]:
    """Notes on seeds, selection, metrics with their protocols, published values and intervals."""
    seeds = sorted({row.seed for row in rows})
    several = (
        ", mean ± standard deviation over seeds, all on one split; bold: leads the second by more than both "
        "deviations; n: number of seeds, if fewer than for others"
    )
    sentences = [f"Percent; seeds {', '.join(map(str, seeds))}{several if len(seeds) > 1 else ''}."]
    rules = sorted({row.selection for row in rows} - {""})
    sentences += [f"Selected weights of a run: {', '.join(rules)}."] if rules else []
    for metric in METRICS.values():
        found = [row for row in headline(rows) if row.metric == metric.name and metric.table]
        across = {"latent_epsilon", metric.columns} | COMPARED
        protocols = {
            protocol_text({k: v for k, v in row.protocol.items() if k not in across}) for row in found
        }
        if found:
            protocol = f" ({'; '.join(sorted(protocols - {''}))})" if protocols - {""} else ""
            sentences.append(f"{heading(metric.name)}: {metric.meaning}{protocol}.")
    sentences += [*_flags(rows), *_cautions(rows)]
    if any(row.protocol.get("budget_space") == "latent" for row in rows):
        sentences.append(
            "latent_epsilon bounds the latent of a diffusion model; it is not comparable with epsilon."
        )
    published = [entry for entry in entries if entry.published is not None]
    if published:
        sentences.append(
            "In brackets: the value in the paper under its own protocol, whose epsilon is not known."
        )
    if any(entry.suspect for entry in published):
        sentences.append(
            "Question mark: the paper has exactly the same accuracy with training and test domain exchanged, "
            "which is unlikely for two networks trained separately."
        )
    if intervals:
        sentences.append(
            "Differences: mean over images of the mean over seeds; from, to: percentile interval of a paired "
            "bootstrap over test images (10000 resamples), which does not cover other seeds."
        )
    return sentences


def _flags(rows: Sequence[Row]) -> Iterator[str]:
    """Sanity checks of attacks and their results."""
    flags = [
        row for row in rows if row.metric == SANITY_CHECK and row.protocol["check"] not in RANDOM_MAP_CHECKS
    ]
    if flags:
        raised = [
            f"{row.method} on {row.train_domain}, seed {row.seed}: {row.protocol['check']} {row.value:.1f} "
            f"(at most {row.protocol['limit']:g} is sound)"
            for row in failed_checks(flags)
        ]
        looked_for = ", ".join(dict.fromkeys(row.protocol["check"] for row in flags))
        found = f"failed: {'; '.join(raised)}" if raised else "none failed"
        yield f"Sanity checks of the attack ({looked_for}): {found}."


def _cautions(rows: Sequence[Row]) -> Iterator[str]:
    """Meaning of failed checks of random maps, and the methods that failed."""
    for flag, caution in RANDOM_MAP_CHECKS.items():
        found = [row for row in rows if row.metric == SANITY_CHECK and row.protocol["check"] == flag]
        runs = Counter(row.method for row in found)
        failed = Counter(row.method for row in failed_checks(found))
        raised = [f"{method} in {failed[method]} of {runs[method]} runs" for method in sorted(failed)]
        if raised:
            yield f"Caution: {caution} ({', '.join(raised)})."


@dataclass(frozen=True)
class Report:
    """Tables by heading, and notes."""

    sections: Mapping[str, Sequence[Table]]
    notes: Sequence[str]

    @property
    def tables(self) -> list[Table]:
        """The tables of all sections."""
        return [table for tables in self.sections.values() for table in tables]

    def markdown(self) -> str:
        """The whole report as Markdown."""
        parts = []
        for name, tables in self.sections.items():
            parts.append(f"## {name}\n")
            parts += [f"### {table.title}\n\n{markdown(table)}\n" for table in tables]
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
    """Tables I to IV of the EGAT paper, if there are rows for them, explanation metrics and differences.

    Variants of EGAT are in their own tables only: those of Table IV with EGAT and ERM, those of Table III
    with EGAT and the baselines that the paper has there.

    Args:
        outcomes: results on one data set with one network.
        published: values of a paper on the same data set.
        epsilon: budget of published robust accuracy; by default the smallest.
        reference: method to compare the others with.
    """
    published = published or Published()
    rows = [outcome.row for outcome in outcomes]
    methods = [row for row in rows if row.method not in VARIANTS]
    ablation = _beside(rows, ABLATION, ("erm", reference))
    sensitivity = _beside(rows, {**SENSITIVITY, **GOLDEN}, ("igr", "sgdrop", reference))
    compared = list(differences([o for o in outcomes if o.row.method not in VARIANTS], reference))
    sections = {
        "In domain": list(in_domain(methods, published, epsilon)),
        "Out of domain": list(out_of_domain(methods, published)),
        "Ablation": list(in_domain(ablation, published, epsilon)),
        "Sensitivity to explanation and guide": [
            *in_domain(sensitivity, published, epsilon),
            *out_of_domain(sensitivity, published),
        ],
        "Explanations": list(explanations(methods)),
        f"{reference} against the others on the same images, with 95 % intervals": compared,
    }
    sections = {name: tables for name, tables in sections.items() if tables}
    every = [entry for tables in sections.values() for table in tables for entry in table.entries]
    return Report(sections, _notes(rows, every, intervals=bool(compared)))


def _beside(rows: Sequence[Row], variants: Collection[str], others: Collection[str]) -> list[Row]:
    """Rows of variants and the methods they are compared with; empty without a variant."""
    if not any(row.method in variants for row in rows):
        return []
    return [row for row in rows if row.method in {*variants, *others}]
