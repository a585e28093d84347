"""Robust accuracy over training time, for cheaper training attacks.

accelerate launch recipes/pareto.py --data-dir PACS --methods pgd_at trades --domains photo --seeds 0 1 2
accelerate launch recipes/pareto.py --data synthetic --config recipes/demo.yaml --methods pgd_at
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

from accelerate import PartialState
from pages import Page, by_domain, publish
from step_times import StepTime, step_times
from timing import machine
from trade import ERM, Trade, pareto_figure, verdicts

from egat_hub.attacks import ATTACKS, TRAINING_ATTACKS
from egat_hub.core.results import Outcome, Row, Summary
from egat_hub.experiments.cell import Cell
from egat_hub.experiments.command import start
from egat_hub.experiments.experiment import Experiment, Finished, Ready
from egat_hub.experiments.further_attack import FurtherAttack
from egat_hub.experiments.tables.in_domain import attempt_of
from egat_hub.experiments.tables.table import Entry, Table, markdown
from egat_hub.experiments.variants import Variant
from egat_hub.methods import METHODS, AdversarialMethod

ROUNDS = 7
"""How often steps are timed."""

STEP_SECONDS = "StepSeconds"


def main(benchmark: str, *, description: str, arguments: Sequence[str] | None = None) -> None:
    """Train ERM, and every adversarial method of the command line with every training attack, and compare.

    The output folder ends up with ``pareto_<domain>.png``, ``pareto.md``, ``pareto.tex``, ``pareto.csv``,
    ``pareto.json``, ``pareto.yaml`` and a folder for each run; runs of another experiment there are used.

    Args:
        benchmark: data set used unless ``--data`` says otherwise.
        description: for ``--help``.
        arguments: the command line; by default the program's.
    """
    ready = start(
        benchmark,
        description=description,
        methods=("pgd_at",),
        arguments=arguments,
        adapt=with_every_attack,
        kept_as="pareto.yaml",
    )
    publish(ready, "pareto", partial(_pages, ready))


def _pages(ready: Ready, finished: Finished) -> dict[str, Page]:
    times = step_times(_to_time(ready), len(ready.bench.dataset.classes), ROUNDS)
    return {domain: _page(ready, domain, mine, times) for domain, mine in by_domain(finished).items()}


def _page(ready: Ready, domain: str, finished: Finished, times: Mapping[str, StepTime]) -> Page:
    rows = [row for cell, found in finished for row in own_rows(cell, found)]
    trades = list(traded(rows, ready.experiment, times))
    title, caption = f"{rows[0].model}, {rows[0].dataset}, trained on {domain}", _caption(rows, ready)
    table = pareto_table(trades, title)
    figure = pareto_figure(trades, title, caption) if any(trade.base != ERM for trade in trades) else None
    told = [f"- {line}" for line in verdicts(trades)]
    text = [f"### {title}\n\n{markdown(table)}\n", *told, "", caption, ""]
    return Page(text, [table], [*rows, *_timed(rows, trades)], figure)


def with_every_attack(experiment: Experiment) -> Experiment:
    """The experiment with ERM, every training attack, and the strongest attack there is on the test images.

    Raises:
        ValueError: a search; no method that attacks, or one that is told another training attack already.
    """
    if experiment.grid:
        raise ValueError("A comparison of training attacks takes no search; leave out --search.")
    chosen = [variant for variant in experiment.variants if variant.name != ERM]
    for variant in chosen:
        config: Any = variant.config
        if not issubclass(METHODS[variant.method], AdversarialMethod):
            raise ValueError(f"Expected methods that can train with any attack, got {variant.name}.")
        if config.training_attack != "pgd":
            raise ValueError(
                f"Every training attack is compared with pgd; leave out --{variant.method}.training_attack."
            )
    if not chosen:
        raise ValueError("Expected at least one method that attacks while it trains, such as pgd_at.")
    erm = Variant(ERM, ERM, METHODS[ERM].config_class())
    return replace(
        experiment,
        variants=(erm, *(v for base in chosen for v in _attacked(base, experiment.train.steps))),
        further=experiment.further or (full_attack(),),
    )


def full_attack() -> FurtherAttack:
    """AutoAttack where its package is installed, else PGD of 50 steps and 5 restarts."""
    if find_spec("pyautoattack") is not None:
        return FurtherAttack(attack="auto_attack")
    return FurtherAttack(attack="pgd", attack_options={"steps": 50}, restarts=5)


def _attacked(base: Variant, steps: int) -> Iterator[Variant]:
    yield base
    config: Any = base.config
    for name in TRAINING_ATTACKS:
        if name != "pgd":
            options = {"over": steps, "schedule": "quadratic"} if name == "ramp" else {}
            changed = replace(config, training_attack=name, training_attack_options=options)
            yield Variant(f"{base.name} {name}", base.method, changed)


def own_rows(cell: Cell, found: Sequence[Outcome]) -> list[Row]:
    """Accuracy, robust accuracy and units on the cell's own domain."""
    shown = ("clean_accuracy", "robust_accuracy", "step_cost", "sanity_check")
    return [row for row, _ in found if row.test_domain == cell.domain and row.metric in shown]


def traded(rows: Sequence[Row], experiment: Experiment, times: Mapping[str, StepTime]) -> Iterator[Trade]:
    """What every variant of which there are rows costs and gains."""
    (full, *_) = experiment.further
    for variant in experiment.variants:
        mine = [row for row in rows if row.method == variant.name]
        base = variant.name.split(" ")[0]
        clean = {row.seed: row.value for row in mine if row.metric == "clean_accuracy"}
        robust = {row.seed: row.value for row in mine if _is(row, full, experiment.epsilon)}
        gradients = {
            row.seed: _gradients(row, rows, base, variant) for row in mine if row.metric == "step_cost"
        }
        if robust and all(value is not None for value in gradients.values()):
            known = [value for value in gradients.values() if value is not None]
            asked = Summary.of(known)
            yield Trade(
                name=variant.name,
                base=base,
                gradients=asked,
                seconds=Summary.of([times[base].seconds(value) for value in known]),
                steps=experiment.train.steps,
                clean=Summary.of([*clean.values()]),
                robust=robust,
            )


def _is(row: Row, attack: FurtherAttack, epsilon: float) -> bool:
    settings = ATTACKS[attack.attack](**attack.attack_options).protocol()
    settings.pop("version", None)  # AutoAttack may have to run another one than it is told
    named = {
        "attack": attack.attack,
        "restarts": attack.restarts,
        "epsilon": epsilon,
        **attack.attack_options,
    }
    drawn = row.protocol.get("images", attack.images if attack.images and row.n <= attack.images else None)
    return (
        row.metric == "robust_accuracy"
        and drawn == attack.images
        and all(row.protocol.get(name) == value for name, value in named.items())
        and all(row.protocol.get(name, value) == value for name, value in settings.items())
    )


def _gradients(row: Row, rows: Sequence[Row], base: str, variant: Variant) -> float | None:
    """Gradients that the attack asks for in a step, from the units of the step and of that of the base."""
    cls = METHODS[variant.method]
    if not issubclass(cls, AdversarialMethod):
        return 0.0
    config: Any = variant.config
    whole = next((r.value for r in rows if r.method == base and r.metric == "step_cost"), None)
    if whole is None:
        return None
    return config.attack_steps + (row.value - whole) / cls.gradient_units(config)


def pareto_table(trades: Sequence[Trade], title: str) -> Table:
    """A line for each variant: cost, accuracy, and the share of the base's gain over ERM that it keeps."""
    by_name = {trade.name: trade for trade in trades}
    lines = {}
    for trade in trades:
        base, erm = by_name.get(trade.base), by_name.get(ERM)
        time = trade.seconds.mean / base.seconds.mean if base and trade is not erm else None
        kept = trade.kept(base, erm) if base and erm and trade is not erm else None
        lines[trade.name] = (
            Entry(trade.gradients, digits=2),
            Entry(Summary(1000 * trade.seconds.mean, 1000 * trade.seconds.sd, trade.seconds.n)),
            Entry(None if time is None else Summary(time, 0.0, trade.seconds.n), digits=2),
            Entry(trade.clean),
            Entry(Summary.of([*trade.robust.values()])),
            Entry(kept, digits=0),
        )
    columns = ("gradients/step", "ms/step", "time / pgd", "clean", "robust", "gain kept %")
    return Table(title, columns, lines)


def _to_time(ready: Ready) -> list[Cell]:
    """A cell of every method, with its own PGD."""
    first = {cell.variant.name: cell for cell in ready.cells}
    return [cell for name, cell in first.items() if " " not in name]


def _timed(rows: Sequence[Row], trades: Sequence[Trade]) -> Iterator[Row]:
    like = {row.method: row for row in rows}
    for trade in trades:
        protocol = {"measured": "in turns, gradients x time of a gradient + time of the rest"}
        value, row = trade.seconds.mean, like[trade.name]
        yield replace(row, metric=STEP_SECONDS, value=value, n=ROUNDS, protocol=protocol)


def _caption(rows: Sequence[Row], ready: Ready) -> str:
    """What is shown, in sentences."""
    (full, *_) = ready.experiment.further
    shown = next(row for row in rows if _is(row, full, ready.experiment.epsilon))
    attempt = attempt_of(shown)
    seeds = ", ".join(map(str, ready.experiment.seeds))
    train = ready.experiment.train
    protocol = f"epsilon {attempt.budget:g} under {attempt.settings}; n = {shown.n} test images"
    return (
        f"Robust accuracy in percent at {protocol}; mean and standard deviation over seeds {seeds}. Time of "
        f"{train.steps} steps of {train.batch_size} images: gradients of the attack times the time of one, "
        f"plus the rest of a step, timed in turns in one process, median of {ROUNDS} rounds "
        f"({machine(PartialState().device.type)}). Gain kept: robust accuracy beyond that of ERM, in percent "
        "of what the method gains with its own PGD."
    )


if __name__ == "__main__":
    main("pacs", description=str(__doc__))
