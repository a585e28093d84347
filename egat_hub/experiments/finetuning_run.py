"""Fine-tune, and set side by side what was there before and what is there after."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from accelerate import PartialState
from tabulate import tabulate

from egat_hub.core.config import digest, to_dict
from egat_hub.core.distributed import rank
from egat_hub.core.files import atomic_write_text
from egat_hub.core.results import Row
from egat_hub.data import Domain, EvaluationView
from egat_hub.evaluation import evaluate_per_image
from egat_hub.evaluation.config import PROTOCOL
from egat_hub.experiments.cell import MODEL
from egat_hub.experiments.claim import claimed
from egat_hub.experiments.finetuning import Ready
from egat_hub.experiments.kept import kept
from egat_hub.experiments.single import begin
from egat_hub.experiments.tables.in_domain import headline
from egat_hub.hub import from_pretrained
from egat_hub.hub.card_tables import protocol_text
from egat_hub.models import TimmModel

COLUMNS = ("model", "domain", "images", "clean", "robust", "comprehensiveness", "sufficiency", "n")
METRICS = {
    "clean": "clean_accuracy",
    "robust": "robust_accuracy",
    "comprehensiveness": "comprehensiveness",
    "sufficiency": "sufficiency",
}


@dataclass(frozen=True)
class Line:
    """A model on a domain.

    Attributes:
        model: before or after fine-tuning.
        domain: the old or the new one.
        images: what it is called.
        rows: what was measured; nothing, where ``missing`` says why.
        missing: a sentence.
    """

    model: Literal["before", "after"]
    domain: Literal["old", "new"]
    images: str
    rows: Sequence[Row] = ()
    missing: str = ""

    @property
    def figures(self) -> dict[str, Row]:
        """The row of every column that has one: of maps, those of the model's own at the first settings."""
        rows = [row for row in headline(self.rows) if row.protocol.get("map", "model") == "model"]
        found = {
            column: next((row for row in rows if row.metric == metric), None)
            for column, metric in METRICS.items()
        }
        return {column: row for column, row in found.items() if row is not None}


@dataclass(frozen=True)
class BeforeAfter:
    """Four lines, and how to read them.

    Attributes:
        lines: before and after, on the old and on the new domain.
        notes: sentences.
    """

    lines: tuple[Line, ...]
    notes: tuple[str, ...] = field(default=())

    def markdown(self) -> str:
        """The table, what its figures mean, and why some are missing."""
        table = tabulate([_shown(line) for line in self.lines], COLUMNS, "github", disable_numparse=True)
        missing = dict.fromkeys(
            f"{line.model} on the {line.domain} domain: {line.missing}" for line in self.lines if line.missing
        )
        notes = [*_meaning(self.lines), *missing, *self.notes]
        return "\n".join([table, "", *(f"- {note}" for note in notes)])

    def csv(self) -> str:
        """Every figure as a line of its own, with its protocol."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["model", "domain", "images", "metric", "value", "n", "protocol"])
        for line in self.lines:
            for row in line.figures.values():
                told = row.metric, f"{row.value:.6g}", row.n, protocol_text(row.protocol)
                writer.writerow([line.model, line.domain, line.images, *told])
        return text.getvalue()

    def data(self) -> list[dict[str, Any]]:
        """The lines as JSON types; figures that are missing are None."""
        return [
            {
                "model": line.model,
                "domain": line.domain,
                "images": line.images,
                **{
                    column: found.value if (found := line.figures.get(column)) else None for column in METRICS
                },
                "n": line.figures["clean"].n if line.figures else None,
                "missing": line.missing or None,
            }
            for line in self.lines
        ]


def _shown(line: Line) -> list[str]:
    figures = line.figures
    shown = [f"{figures[column].value:.1f}" if column in figures else "-" for column in METRICS]
    return [line.model, line.domain, line.images, *shown, str(figures["clean"].n) if figures else "-"]


def _meaning(lines: Sequence[Line]) -> Iterable[str]:
    figures = next((line.figures for line in lines if line.figures), {})
    yield "clean, robust: share of test images classified correctly, clean and also under attack, in %"
    if "robust" in figures:
        yield f"robust: {protocol_text(figures['robust'].protocol)}"
    if "comprehensiveness" in figures:
        yield (
            "comprehensiveness (higher is better), sufficiency (lower is better): fall of the probability "
            "without the most salient pixels, and with them alone, in points; "
            f" {protocol_text(figures['comprehensiveness'].protocol)}"
        )
    if any(line.figures and "comprehensiveness" not in line.figures for line in lines):
        yield "no comprehensiveness and sufficiency where the network has no map, or every map is constant"


TABLE = "before_after"


@dataclass(frozen=True)
class Tuned:
    """What fine-tuning gave.

    Attributes:
        model: folder of the model, for ``from_pretrained``.
        table: before and after.
    """

    model: Path
    table: BeforeAfter


def run(ready: Ready) -> Tuned:
    """Measure, fine-tune, measure again and save, or do what of it is not done yet; every process calls this.

    The folder of the run ends up with ``model/``, ``before_after.md`` and ``before_after.csv``.

    Raises:
        FileExistsError: another command is at work on that folder.
    """
    with claimed(ready.bench.output):
        return _run(ready)


def _run(ready: Ready) -> Tuned:
    cell, bench, base = ready.cell, ready.bench, ready.cell.base
    new, old = bench.dataset[cell.domain], ready.old.domain
    begin(bench.output, cell)
    start = base.model.to(PartialState().device)
    before_old = _measured(ready, "before", start, old)
    before_new = _measured(ready, "before", start, new if cell.keeps_head else None)
    outcomes = bench.run(cell)
    after_new = [row for row, _ in outcomes if row.test_domain == cell.domain]
    tuned = from_pretrained(bench.output / MODEL).model.to(PartialState().device)
    after_old = _measured(ready, "after", tuned, old if cell.keeps_head else None)
    no_head = "" if cell.keeps_head else f"the head is new; {_shared(ready)}"
    where, here = _name(old) if old else "not given", _name(new)
    told = f"{base.name} before, {cell.variant.name} after, seed {cell.seed}, weights: {cell.train.selection}"
    table = BeforeAfter(
        (
            Line("before", "old", where, before_old, ready.old.missing),
            Line("before", "new", here, before_new, no_head),
            Line("after", "old", where, after_old, no_head or ready.old.missing),
            Line("after", "new", here, after_new),
        ),
        (told,),
    )
    if rank() == 0:
        atomic_write_text(bench.output / f"{TABLE}.md", table.markdown() + "\n")
        atomic_write_text(bench.output / f"{TABLE}.csv", table.csv())
    PartialState().wait_for_everyone()
    return Tuned(bench.output / MODEL, table)


def _measured(ready: Ready, model: str, network: TimmModel, domain: Domain | None) -> list[Row]:
    """Figures on the test split of a domain, in images of the size that the model was made for."""
    if domain is None:
        return []
    cell, config = ready.cell, ready.bench.evaluation
    told = cell.base.metadata if model == "before" else {}
    data = ready.old.data if domain is ready.old.domain else cell.data
    settings = [PROTOCOL, to_dict(replace(config, batch_size=1)), data and to_dict(data)]
    measure = partial(
        evaluate_per_image,
        network,
        EvaluationView(domain, "test", image_size=network.image_size),
        config,
        workers=ready.bench.resources.workers or 0,
        method=str(told.get("method", "")) if model == "before" else cell.variant.name,
        train_domain=str(told.get("train_domain", "")) if model == "before" else cell.domain,
        seed=cell.seed,
    )
    where = "old" if domain is ready.old.domain else "new"
    path = ready.bench.output / f"{model}_{where}_{digest(settings)}.jsonl"
    return [row for row, _ in kept(path, lambda journal: measure(journal=journal))]


def _name(domain: Domain) -> str:
    return f"{domain.dataset}, {domain.name}"


def _shared(ready: Ready) -> str:
    known, classes = ready.cell.base.label_names, ready.bench.dataset.classes
    if not known:
        return f"{ready.cell.base.name} has no names of classes"
    return f"{len(set(known) & set(classes))} of the {len(classes)} classes are among the old {len(known)}"
