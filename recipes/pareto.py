"""Robust accuracy over training time, for cheaper training attacks.

accelerate launch recipes/pareto.py --data.dir PACS --methods pgd_at trades --domains photo --seeds 0 1 2
accelerate launch recipes/pareto.py --data synthetic --config recipes/demo.yaml --methods pgd_at
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from accelerate import PartialState
from pages import Page, by_domain, publish
from step_times import StepTime, step_times
from timing import machine
from trade import ERM, Trade, pareto_figure, verdicts

from egat_hub.attacks import ATTACKS, TRAINING_ATTACKS
from egat_hub.core.options import run_command
from egat_hub.core.results import Row, Summary
from egat_hub.data import DataConfig
from egat_hub.experiments import ExtraAttack, RunConfig, RunResults, SweepOptions, run_sweep
from egat_hub.experiments.tables.columns import attempt_of
from egat_hub.experiments.tables.table import Entry, Table, markdown
from egat_hub.hub import from_pretrained
from egat_hub.methods import METHODS, AdversarialMethod

ROUNDS = 7
"""How often steps are timed."""

STEP_SECONDS = "StepSeconds"


def pareto(options: SweepOptions) -> None:
    """Train ERM, and every adversarial method with every training attack, and compare.

    The output folder gets ``pareto_<domain>.png``, ``pareto.md``, ``.tex``, ``.csv``, ``.json``, ``.yaml``
    and a folder for each run; finished runs there are reused.
    """
    if options.search:
        raise ValueError("A comparison of training attacks takes no search; leave out --search.")
    options = replace(options, extra_attacks=options.extra_attacks or (full_attack(),))
    results = run_sweep(options, with_every_attack, config_file="pareto.yaml")
    timed = {found.config.label: found.config for found in results if " " not in found.config.label}
    classes = from_pretrained(results[0].model).label_names
    times = step_times([*timed.values()], classes, ROUNDS)
    found = {domain: _page(domain, mine, options, times) for domain, mine in by_domain(results).items()}
    publish(options.folder, "pareto", found)


def _page(
    domain: str, results: Sequence[RunResults], options: SweepOptions, times: Mapping[str, StepTime]
) -> Page:
    rows = [row for found in results for row in own_rows(found)]
    trades = list(traded(rows, results, options.epsilon, times))
    title = f"{rows[0].model}, {rows[0].dataset}, trained on {domain}"
    caption = _caption(rows, results[0].config, options)
    table = pareto_table(trades, title)
    figure = pareto_figure(trades, title, caption) if any(trade.base != ERM for trade in trades) else None
    text = [
        f"### {title}\n\n{markdown(table)}\n",
        *(f"- {line}" for line in verdicts(trades)),
        "",
        caption,
        "",
    ]
    return Page(text, [table], [*rows, *_timed(rows, trades)], figure)


def with_every_attack(runs: Sequence[RunConfig]) -> list[RunConfig]:
    """The runs with every training attack, after a run of ERM on the same domain with the same seed.

    Raises:
        ValueError: no adversarial method, another method, or a training attack that is set already.
    """
    chosen = [run for run in runs if run.label != ERM]
    for run in chosen:
        config: Any = run.method_config
        if not issubclass(METHODS[run.method], AdversarialMethod):
            raise ValueError(f"Expected methods that can train with any attack, got {run.label}.")
        if config.training_attack != "pgd":
            raise ValueError(
                f"Every training attack is compared with pgd; leave out --{run.method}.training_attack."
            )
    if not chosen:
        raise ValueError("Expected at least one method that attacks while it trains, such as pgd_at.")
    found: list[RunConfig] = []
    for run in chosen:
        if not any((other.domain, other.seed) == (run.domain, run.seed) for other in found):
            found.append(replace(run, method=ERM, method_config=METHODS[ERM].config_class(), label=ERM))
        found += _attacked(run)
    return found


def full_attack() -> ExtraAttack:
    """AutoAttack where its package is installed, else PGD of 50 steps and 5 restarts."""
    if find_spec("pyautoattack") is not None:
        return ExtraAttack(attack="auto_attack")
    return ExtraAttack(attack="pgd", attack_options={"steps": 50}, restarts=5)


def _attacked(run: RunConfig) -> Iterator[RunConfig]:
    yield run
    config: Any = run.method_config
    for name in TRAINING_ATTACKS:
        if name != "pgd":
            options = {"over": run.train.steps, "schedule": "quadratic"} if name == "ramp" else {}
            changed = replace(config, training_attack=name, training_attack_options=options)
            yield replace(run, method_config=changed, label=f"{run.label} {name}")


def own_rows(results: RunResults) -> list[Row]:
    """Accuracy, robust accuracy and step cost on the training domain."""
    shown = ("clean_accuracy", "robust_accuracy", "step_cost", "sanity_check")
    return [row for row in results.rows if row.test_domain == row.train_domain and row.metric in shown]


def traded(
    rows: Sequence[Row], results: Sequence[RunResults], epsilon: float, times: Mapping[str, StepTime]
) -> Iterator[Trade]:
    """Cost and gain of every method with every training attack that has results."""
    for label, run in {found.config.label: found.config for found in results}.items():
        (full, *_) = run.extra_attacks
        mine = [row for row in rows if row.method == label]
        base = label.split(" ")[0]
        clean = {row.seed: row.value for row in mine if row.metric == "clean_accuracy"}
        robust = {row.seed: row.value for row in mine if _is(row, full, epsilon)}
        gradients = {row.seed: _gradients(row, rows, base, run) for row in mine if row.metric == "step_cost"}
        if robust and all(value is not None for value in gradients.values()):
            known = [value for value in gradients.values() if value is not None]
            yield Trade(
                name=label,
                base=base,
                gradients=Summary.of(known),
                seconds=Summary.of([times[base].seconds(value) for value in known]),
                steps=run.train.steps,
                clean=Summary.of([*clean.values()]),
                robust=robust,
            )


def _is(row: Row, attack: ExtraAttack, epsilon: float) -> bool:
    settings = ATTACKS[attack.attack](**attack.attack_options).protocol()
    settings.pop("version", None)  # AutoAttack may run another version
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


def _gradients(row: Row, rows: Sequence[Row], base: str, run: RunConfig) -> float | None:
    """Attack gradients per step, from the cost of the step and that of the base method's step."""
    cls = METHODS[run.method]
    if not issubclass(cls, AdversarialMethod):
        return 0.0
    config: Any = run.method_config
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


def _timed(rows: Sequence[Row], trades: Sequence[Trade]) -> Iterator[Row]:
    like = {row.method: row for row in rows}
    for trade in trades:
        protocol = {"measured": "in turns, gradients x time of a gradient + time of the rest"}
        value, row = trade.seconds.mean, like[trade.name]
        yield replace(row, metric=STEP_SECONDS, value=value, n=ROUNDS, protocol=protocol)


def _caption(rows: Sequence[Row], run: RunConfig, options: SweepOptions) -> str:
    """What is shown, in sentences."""
    (full, *_) = run.extra_attacks
    shown = next(row for row in rows if _is(row, full, options.epsilon))
    attempt = attempt_of(shown)
    seeds = ", ".join(map(str, options.seeds))
    train = run.train
    protocol = f"epsilon {attempt.budget:g} under {attempt.settings}; n = {shown.n} test images"
    return (
        f"Robust accuracy in percent at {protocol}; mean and standard deviation over seeds {seeds}. Time of "
        f"{train.steps} steps of {train.batch_size} images: gradients of the attack times the time of one, "
        f"plus the rest of a step, timed in turns in one process, median of {ROUNDS} rounds "
        f"({machine(PartialState().device.type)}). Gain kept: robust accuracy beyond that of ERM, in percent "
        "of what the method gains with its own PGD."
    )


if __name__ == "__main__":
    run_command(pareto, description=__doc__, data=DataConfig("pacs"), methods=("pgd_at",))
