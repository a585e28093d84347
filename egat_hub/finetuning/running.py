"""Fine-tune, and set side by side what was there before and what is there after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from accelerate import PartialState

from egat_hub.backbone import Backbone
from egat_hub.collective import rank
from egat_hub.config import digest, to_dict
from egat_hub.data import Domain, EvaluationView
from egat_hub.engine import judge
from egat_hub.engine.measuring import PROTOCOL
from egat_hub.experiments.cell import MODEL
from egat_hub.experiments.claim import claimed
from egat_hub.experiments.kept import kept
from egat_hub.experiments.one_run import begin
from egat_hub.finetuning.before_after import BeforeAfter, Line
from egat_hub.finetuning.preparing import Ready
from egat_hub.hub import from_pretrained
from egat_hub.results import Row
from egat_hub.whole_file import write_whole

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
    start = base.backbone.to(PartialState().device)
    before_old = _measured(ready, "before", start, old)
    before_new = _measured(ready, "before", start, new if cell.keeps_head else None)
    outcomes = bench.run(cell)
    after_new = [row for row, _ in outcomes if row.test_domain == cell.domain]
    tuned = from_pretrained(bench.output / MODEL).backbone.to(PartialState().device)
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
        write_whole(bench.output / f"{TABLE}.md", table.markdown() + "\n")
        write_whole(bench.output / f"{TABLE}.csv", table.csv())
    PartialState().wait_for_everyone()
    return Tuned(bench.output / MODEL, table)


def _measured(ready: Ready, model: str, backbone: Backbone, domain: Domain | None) -> list[Row]:
    """Figures on the test split of a domain, in images of the size that the model was made for."""
    if domain is None:
        return []
    cell, config = ready.cell, ready.bench.evaluation
    told = cell.base.metadata if model == "before" else {}
    data = ready.old.data if domain is ready.old.domain else cell.data
    settings = [PROTOCOL, to_dict(replace(config, batch_size=1)), data and to_dict(data)]
    measure = partial(
        judge,
        backbone,
        EvaluationView(domain, "test", image_size=backbone.image_size),
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
