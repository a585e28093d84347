"""Trade-off curves: runs of a sweep, dominated settings, and the figure."""

from __future__ import annotations

import pytest
import trade_off_curves
from matplotlib.figure import Figure
from pages import Point
from trade_off_curves import trade_off_figure

from egat_hub.core.results import Summary, read_rows
from egat_hub.methods import METHODS
from tests.experiments.tiny import runs_of, tiny


def point(method, weight, clean, robust, *, default=False, **others):
    values = {"clean_accuracy": clean, "robust_accuracy": robust, **others}
    figures = {name: Summary.of([value - 1, value + 1]) for name, value in values.items()}
    return Point(method, f"{method} {weight}", "beta", weight, default, figures)


def test_every_sweep_is_over_a_field_that_its_method_has():
    for method, (field, values) in trade_off_curves.SWEEPS.items():
        config = METHODS[method].config_class()
        assert len(values) >= 4
        assert getattr(config, field) in values or (field == "epsilon" and 1.0 in values)


def swept(*arguments):
    return trade_off_curves.with_weights(runs_of("--domains", "meadow", "--seeds", "0", *arguments))


def test_the_default_setting_keeps_its_name_and_is_not_repeated():
    runs = swept("--methods", "erm", "egat", "pgd_at", "--epsilon", "0.02")
    assert [run.label for run in runs] == [
        "erm",
        "egat",
        "egat lambda_adv=0.1",
        "egat lambda_adv=2",
        "egat lambda_adv=6",
        "pgd_at",
        "pgd_at epsilon=0.005",
        "pgd_at epsilon=0.01",
        "pgd_at epsilon=0.04",
    ]
    configs = [run.method_config for run in runs]
    assert [config.lambda_adv for config in configs[1:5]] == [0.5, 0.1, 2, 6]
    assert [config.epsilon for config in configs[5:]] == [0.02, 0.005, 0.01, 0.04]


def test_a_given_value_is_added_to_the_sweep():
    runs = swept("--methods", "trades", "--trades.beta", "4")
    assert [run.method_config.beta for run in runs] == [4, 1, 3, 6, 12]


def test_dominated_points_are_worse_in_both_accuracies():
    points = [
        point("a", 1.0, 80, 40),
        point("a", 2.0, 70, 50),
        point("b", 1.0, 75, 39),
        point("b", 2.0, 81, 10),
    ]
    verdicts = list(trade_off_curves.verdicts(points))
    assert [line.endswith("not dominated") for line in verdicts] == [True, True, False, True]
    assert verdicts[2] == "b 1.0 (75.0 clean, 39.0 robust): dominated by a 1.0"


def test_figure_has_a_panel_per_metric_and_rings_for_defaults():
    points = [
        point("egat", w, 80 - w, 40 + w, default=w == 1, comprehensiveness=20 + w, sufficiency=30 - w)
        for w in (2.0, 1.0, 3.0)
    ] + [
        Point(
            "erm",
            "erm",
            "",
            None,
            True,
            {"clean_accuracy": Summary.of([90.0]), "robust_accuracy": Summary.of([5.0])},
        )
    ]
    figure = trade_off_figure(points, "title", ["a note"])
    assert isinstance(figure, Figure)
    assert [axes.get_ylabel().split()[0] for axes in figure.axes] == [
        "clean",
        "comprehensiveness",
        "sufficiency",
    ]
    first = figure.axes[0]
    lines = {line.get_label(): line for line in first.lines}
    assert sorted(text.get_text() for text in first.texts) == ["1", "2", "3"]
    rings = [line for line in first.lines if line.get_markersize() == 14]
    assert {(line.get_xdata()[0], line.get_ydata()[0]) for line in rings} == {(41, 79), (5, 90)}
    assert lines
    errorbars = first.containers[0]
    assert list(errorbars[0].get_xdata()) == [41, 42, 43]  # in the order of the weights


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("trade_off_curves")
    attack = ("--pgd_at.attack_steps", "1", "--methods", "erm", "pgd_at", "--seeds", "0", "1")
    trade_off_curves.trade_off_curves(tiny(output, *attack))
    return output


def test_recipe_writes_rows_tables_and_a_figure(finished):
    assert {path.name for path in finished.iterdir() if path.is_file()} == {
        "trade_off.csv",
        "trade_off.json",
        "trade_off.md",
        "trade_off.tex",
        "trade_off.yaml",
        "trade_off_meadow.png",
    }
    names = {"erm", "pgd_at", *(f"pgd_at epsilon={e}" for e in ("0.0025", "0.005", "0.02"))}
    assert {(row.method, row.seed) for row in read_rows(finished / "trade_off.json")} == {
        (name, seed) for name in names for seed in (0, 1)
    }
    text = (finished / "trade_off.md").read_text()
    assert text.count("dominated") == len(names)
    assert len(list(finished.glob("*/model"))) == 2 * len(names)


def test_ablation_variants_are_not_swept():
    names = [run.label for run in swept("--methods", "ablation")]
    assert len(names) == len(set(names)) == 8 + 3


def test_hyperparameter_search_raises(tmp_path):
    (tmp_path / "grid.yaml").write_text("egat: {lambda_adv: [1.0]}")
    with pytest.raises(ValueError, match="leave out --search"):
        trade_off_curves.trade_off_curves(tiny(tmp_path, "--search", str(tmp_path / "grid.yaml")))
