"""Accuracy over epsilon (Fig. 2 of the EGAT paper), and transfer of attacks between models.

accelerate launch recipes/attack_curves.py --data.dir PACS --config recipes/pacs_small.yaml
accelerate launch recipes/attack_curves.py --data synthetic --config recipes/demo.yaml
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from accelerate import PartialState
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pages import Page, by_domain, line_style, publish
from torch import Tensor

from egat_hub.attacks import Attack
from egat_hub.core.options import run_command
from egat_hub.core.randomness import SampleRandom
from egat_hub.core.results import Row, Summary
from egat_hub.data import DataConfig, EvaluationView, open_dataset
from egat_hub.experiments import ExtraAttack, RunResults, SweepOptions, run_sweep
from egat_hub.experiments.tables.columns import attempt_of, distinct
from egat_hub.experiments.tables.table import Entry, Table, markdown
from egat_hub.hub import from_pretrained
from egat_hub.metrics.accuracy import LIMIT
from egat_hub.models import TimmModel
from egat_hub.models.train_mode import evaluating

Curve = Mapping[float, Summary]
"""Accuracy by budget; 0 is that of clean images."""


def curve_figure(
    panels: Mapping[str, Mapping[str, Curve]], title: str, caption: str, chance: float | None = None
) -> Figure:
    """A panel for each attack, a line for each method; bars are standard deviations over seeds.

    Args:
        panels: curves by name of the attack and method; at least one.
        title: title of the figure.
        caption: the protocol, below.
        chance: accuracy of guessing in percent, drawn as a dotted line.
    """
    figure = Figure(figsize=(0.6 + 3.6 * len(panels), 4.4), layout="constrained")
    methods = list(dict.fromkeys(method for curves in panels.values() for method in curves))
    row = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (attack, curves) in zip(row, panels.items(), strict=True):
        _panel(axes, curves, methods)
        if chance is not None:
            axes.axhline(chance, color="gray", linestyle=":", linewidth=0.8, label="chance")
        axes.set_title(attack)
    row[0].set_ylabel("accuracy (%)")
    row[0].legend(fontsize="small")
    figure.suptitle(title)
    figure.supxlabel(textwrap.fill(caption, 48 * len(panels)), fontsize="x-small")
    return figure


def _panel(axes: Axes, curves: Mapping[str, Curve], methods: Sequence[str]) -> None:
    for method, curve in curves.items():
        budgets = sorted(curve)
        axes.errorbar(
            budgets,
            [curve[budget].mean for budget in budgets],
            yerr=[curve[budget].sd for budget in budgets],
            elinewidth=0.6,
            label=method,
            **line_style(methods.index(method)),
        )
    axes.set_xlabel("epsilon (pixels in [0, 1])")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)


@torch.no_grad()
def transfer(
    models: Mapping[str, TimmModel],
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    epsilon: float,
    random: SampleRandom,
) -> dict[tuple[str, str], float]:
    """Accuracy in percent by (evaluated model, attacked model).

    Args:
        models: networks of the same classes, by name.
        images: clean images [B,3,H,W] in [0,1].
        labels: true classes [B].
        attack: what makes the images.
        epsilon: its budget, in [0, 1].
        random: keyed random numbers of the images.
    """
    found = {}
    for source, against in models.items():
        perturbed = attack(against, images, labels, epsilon, random=random)
        for target, model in models.items():
            with evaluating(model):
                correct = model(perturbed).argmax(1) == labels
            found[target, source] = 100.0 * correct.float().mean().item()
    return found


def transfer_table(found: Sequence[Mapping[tuple[str, str], float]], title: str) -> Table:
    """A row for each evaluated model, a column for each attacked model; one mapping per seed."""
    names = list(dict.fromkeys(target for target, _ in found[0]))
    lines = {
        target: tuple(Entry(Summary.of([seed[target, source] for seed in found])) for source in names)
        for target in names
    }
    return Table(title, tuple(f"against {name}" for name in names), lines)


EPSILONS = (0.01, 0.02, 0.03, 0.04)
"""The paper's budgets."""

TRANSFERRED = 64
"""Images that are shown to other models."""

ATTACKS = tuple(ExtraAttack(attack=name, epsilons=EPSILONS) for name in ("fgsm", "mi_fgsm", "pgd"))
"""The attacks unless ``--extra_attacks`` names others; SCA is apart, its budget is no distance of pixels."""


def attack_curves(options: SweepOptions) -> None:
    """Train what is missing, attack every model at every budget, and draw the curves.

    The output folder gets ``attack_curves_<domain>.png``, ``attack_curves.md``, ``.tex``, ``.csv`` and
    ``.json`` beside the folders of the runs.
    """
    options = with_curves(options)
    results = run_sweep(options, config_file="attack_curves.yaml")
    found = {domain: _page(options, domain, mine) for domain, mine in by_domain(results).items()}
    publish(options.folder, "attack_curves", found)


def with_curves(options: SweepOptions) -> SweepOptions:
    """The options with the attacks and budgets of the figure, unless they name others."""
    attacks = options.extra_attacks or ATTACKS
    return replace(
        options,
        extra_attacks=tuple(replace(attack, epsilons=attack.epsilons or EPSILONS) for attack in attacks),
    )


def _page(options: SweepOptions, domain: str, results: Sequence[RunResults]) -> Page:
    panels = curves(results)
    (first, *_) = own = [row for found in results for row in found.rows if row.test_domain == domain]
    title = f"{first.model}, {first.dataset}, trained and attacked on {domain}"
    caption = protocol_of(own)
    dataset = open_dataset(options.data, [domain], verify=False)
    view = EvaluationView(dataset[domain], "test", image_size=results[0].config.image_size)
    tables = [curve_table(panels, title), transferred(options, results, view)]
    text = [*(f"### {t.title}\n\n{markdown(t)}\n" for t in tables), f"{caption}\n"]
    text += [f"- {line}" for line in worse_transfer(tables[-1])]
    rows = [row for row in own if row.metric in SHOWN or row.metric.startswith("robust_accuracy")]
    return Page(text, tables, rows, curve_figure(panels, title, caption, 100 / len(dataset.classes)))


SHOWN = ("clean_accuracy", "sanity_check")


def curves(results: Iterable[RunResults]) -> dict[str, dict[str, Curve]]:
    """Mean and deviation over seeds of the accuracy on the own domain, by attack, method and budget.

    Attacks of a single budget make no curve.
    """
    clean: dict[str, dict[int, float]] = {}
    found: dict[str, dict[str, dict[float, dict[int, float]]]] = {}
    names: dict[str, str] = {}
    for finished in results:
        for row in finished.rows:
            if row.test_domain != row.train_domain:
                continue
            if row.metric == "clean_accuracy":
                clean.setdefault(row.method, {})[row.seed] = row.value
            elif row.metric == "robust_accuracy" and "epsilon" in row.protocol:
                attack = attempt_of(row).settings
                names[attack] = name_of(row)
                budgets = found.setdefault(attack, {}).setdefault(row.method, {})
                budgets.setdefault(row.protocol["epsilon"], {})[row.seed] = row.value
    drawn = {attack: m for attack, m in found.items() if any(len(budgets) > 1 for budgets in m.values())}
    titles = distinct({attack: names[attack] for attack in drawn}, {attack: attack for attack in drawn})
    return {
        titles[attack]: {
            method: {
                budget: Summary.of([*seeds.values()])
                for budget, seeds in {0.0: clean[method], **budgets}.items()
            }
            for method, budgets in methods.items()
        }
        for attack, methods in drawn.items()
    }


def name_of(row: Row) -> str:
    """The attack behind a row, with its number of steps where it has one."""
    steps = row.protocol.get("steps")
    return f"{row.protocol['attack']}, {steps} steps" if steps else str(row.protocol["attack"])


def curve_table(panels: Mapping[str, Mapping[str, Curve]], title: str) -> Table:
    """A line for each method, a column for each attack and budget."""
    budgets = {
        attack: sorted({budget for curve in methods.values() for budget in curve} - {0.0})
        for attack, methods in panels.items()
    }
    methods = list(dict.fromkeys(method for curves in panels.values() for method in curves))
    columns = [(attack, budget) for attack in panels for budget in budgets[attack]]
    lines = {
        method: tuple(Entry(panels[attack].get(method, {}).get(budget)) for attack, budget in columns)
        for method in methods
    }
    return Table(title, tuple(f"{attack}: {budget:g}" for attack, budget in columns), lines)


def protocol_of(rows: Sequence[Row]) -> str:
    """What is shown, in sentences."""
    seeds = sorted({row.seed for row in rows})
    n = sorted({row.n for row in rows if row.metric == "robust_accuracy"})
    attempts: dict[str, set[float]] = {}
    for row in rows:
        if row.metric == "robust_accuracy" and "epsilon" in row.protocol:
            attempts.setdefault(attempt_of(row).settings, set()).add(row.protocol["epsilon"])
    settings = [text for text, budgets in attempts.items() if len(budgets) > 1]
    return (
        "Share of test images classified correctly clean and under attack; mean and standard deviation over "
        f"seeds {', '.join(map(str, seeds))}; n = {', '.join(map(str, n))} (at epsilon 0 all test images). "
        "An image broken at one budget counts as broken at larger ones. "
        f"Attacks: {'; '.join(settings)}."
    )


def transferred(options: SweepOptions, results: Sequence[RunResults], view: EvaluationView) -> Table:
    """Accuracy of every method on images made against every other one, with the same seed."""
    evaluation, view = options.evaluation, view.drawn(TRANSFERRED, seed=options.evaluation.seed)
    items = [view[position] for position in range(len(view))]
    images, labels = (torch.stack([item[key] for item in items]) for key in ("image", "label"))
    random = SampleRandom(evaluation.seed, tuple(int(item["index"]) for item in items))
    device, attack = PartialState().device, evaluation.build_attack()
    by_seed = []
    for seed in dict.fromkeys(found.config.seed for found in results):
        models = {
            found.config.label: from_pretrained(found.model).model.to(device)
            for found in results
            if found.config.seed == seed
        }
        by_seed.append(
            transfer(models, images.to(device), labels.to(device), attack, options.epsilon, random)
        )
    complete = [seed for seed in by_seed if seed.keys() == by_seed[0].keys()]
    title = (
        f"{results[0].config.domain}: accuracy of the row's model on images made against the column's, "
        f"{evaluation.attack} at {options.epsilon:g}, n = {len(view)}, {len(complete)} seeds"
    )
    return transfer_table(complete, title)


def worse_transfer(table: Table) -> Iterable[str]:
    """Failed checks of models that attacks on another model harm more than their own attack does."""
    names = list(table.lines)
    for position, (name, entries) in enumerate(table.lines.items()):
        own = entries[position].summary
        for source, entry in zip(names, entries, strict=True):
            if own and entry.summary and own.mean - entry.summary.mean > LIMIT:
                yield (
                    f"Sanity check transfer: {name} falls to {entry.summary.mean:.1f} % by images made "
                    f"against {source}, to {own.mean:.1f} % by its own; its gradient misleads."
                )


if __name__ == "__main__":
    run_command(attack_curves, description=__doc__, data=DataConfig("pacs"))
