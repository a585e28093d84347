"""The comparison of hand-made rows."""

from __future__ import annotations

import statistics
from pathlib import Path

from egat_hub.experiments.table import comparison
from egat_hub.results import Row

PAPER = Path(__file__).parents[2] / "recipes" / "paper" / "table1.csv"
ATTACK = {"attack": "pgd", "epsilon": 0.01, "steps": 10}
MAPS = {"explanation": "grad_cam", "q": 0.2}


def row(metric, value, *, method="erm", train="SUN09", test=None, seed=0, **protocol):
    domains = {"train_domain": train, "test_domain": test or train}
    named = {"model": "resnet50", "method": method, "dataset": "vlcs", "split": "test"}
    return Row(**named, **domains, metric=metric, value=value, n=123, seed=seed, protocol=protocol)


def cells(text, method, block=0):
    """A method's line of one of the tables, by the title of the column."""
    lines = [line for line in text.split("### ")[1 + block].splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    (found,) = [line for line in split if line[0] == method]
    return dict(zip(split[0], found, strict=True))


def test_a_cell_is_mean_and_sample_standard_deviation_over_seeds():
    values = {0: 80.0, 1: 83.0, 2: 88.5}
    text = comparison([row("cAcc", value, seed=seed) for seed, value in values.items()])
    mean, sd = statistics.mean(values.values()), statistics.stdev(values.values())
    assert cells(text, "erm")["cAcc"] == f"{mean:.1f} ± {sd:.1f}"
    assert "seeds 0, 1, 2, mean ± standard deviation" in text
    assert "resnet50, vlcs, trained on SUN09, n = 123 test images" in text


def test_one_seed_has_no_standard_deviation():
    text = comparison([row("cAcc", 80.0)])
    assert cells(text, "erm") == {"method": "erm", "cAcc": "80.0"}
    assert "±" not in text


def test_published_figures_are_in_brackets_where_there_are_any():
    rows = [
        row("cAcc", 80.0),
        row("aAcc", 10.0, **ATTACK),
        row("Comp", 20.0, map="model", **MAPS),
        row("Suff", 30.0, map="model", **MAPS),
        row("Comp", 5.0, map="random", **MAPS),
        row("cAcc", 70.0, method="pgd_at"),
    ]
    line = cells(comparison(rows, [PAPER]), "erm")
    assert line["cAcc"] == "80.0 [81.2]"
    assert line["aAcc 0.01"] == "10.0 [7.0]"
    assert line["Comp"] == "20.0 [18.6]"
    assert line["Suff"] == "30.0 [27.2]"
    assert line["Comp random"] == "5.0"
    assert "In brackets" in comparison(rows, [PAPER])
    assert "[" not in comparison(rows)


def test_a_method_without_a_figure_has_a_dash():
    text = comparison([row("cAcc", 80.0), row("aAcc", 10.0, **ATTACK), row("cAcc", 70.0, method="mine")])
    assert cells(text, "mine")["aAcc 0.01"] == "-"


def test_out_of_domain_accuracy_is_the_mean_over_the_other_domains():
    rows = [
        row("cAcc", value + seed, test=test, seed=seed)
        for seed in (0, 2)
        for test, value in (("SUN09", 80.0), ("LabelMe", 50.0), ("VOC2007", 60.0))
    ]
    line = cells(comparison(rows), "erm")
    assert line["cAcc"] == f"81.0 ± {statistics.stdev([80, 82]):.1f}"
    assert line["OOD"] == f"56.0 ± {statistics.stdev([55, 57]):.1f}"


def test_the_average_is_over_domains_within_a_seed_and_leaves_out_incomplete_seeds():
    rows = [
        row("cAcc", v, train=d, seed=s)
        for s, d, v in ((0, "SUN09", 80), (0, "LabelMe", 60), (1, "SUN09", 90))
    ]
    text = comparison(rows)
    assert cells(text, "erm", block=0)["cAcc"] == f"85.0 ± {statistics.stdev([80, 90]):.1f}"
    assert cells(text, "erm", block=1)["cAcc"] == "60.0"
    assert cells(text, "erm", block=2)["cAcc"] == "70.0"
    assert "trained on average" in text


def test_budgets_have_columns_of_their_own():
    rows = [
        row("cAcc", 80.0),
        *(row("aAcc", v, **{**ATTACK, "epsilon": e}) for e, v in ((0.03, 5.0), (0.01, 40.0))),
    ]
    assert list(cells(comparison(rows), "erm")) == ["method", "cAcc", "aAcc 0.01", "aAcc 0.03"]
    assert "(attack pgd, steps 10)" in comparison(rows)
