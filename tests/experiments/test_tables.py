"""Tables of hand-made rows."""

from __future__ import annotations

import csv
import io
import statistics
from pathlib import Path

import pytest

from egat_hub.core.results import Outcome, Row, Summary
from egat_hub.experiments.tables.comparisons import ranks
from egat_hub.experiments.tables.report import report
from egat_hub.experiments.tables.table import Entry, Published, Table, latex, mark_best, markdown, to_csv

FOLDER = Path(__file__).parents[2] / "recipes" / "paper"
PAPER = [FOLDER / "table1.csv", FOLDER / "table2.csv", FOLDER / "table4.csv"]
ATTACK = {"attack": "pgd", "epsilon": 0.01, "steps": 10}
MAPS = {"explanation": "grad_cam", "q": 0.2}
NAMES = ("erm", "dre", "egat")


def row(metric, value, *, method="erm", train="SUN09", test=None, seed=0, **protocol):
    domains = {"train_domain": train, "test_domain": test or train}
    named = {"model": "resnet50", "method": method, "dataset": "vlcs", "split": "test"}
    return Row(**named, **domains, metric=metric, value=value, n=123, seed=seed, protocol=protocol)


def comparison(rows, paper=(), **options):
    outcomes = [Outcome(row, [row.value] * 3) for row in rows]
    return report(outcomes, Published.read(paper, "vlcs"), **options).markdown()


def cells(text, method, block=0):
    """A method's line of one of the tables, by the title of the column."""
    lines = [line for line in text.split("### ")[1 + block].splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    (found,) = [line for line in split if line[0] == method]
    return dict(zip(split[0], found, strict=True))


def test_a_cell_is_mean_and_sample_standard_deviation_over_seeds():
    values = {0: 80.0, 1: 83.0, 2: 88.5}
    text = comparison([row("clean_accuracy", value, seed=seed) for seed, value in values.items()])
    mean, sd = statistics.mean(values.values()), statistics.stdev(values.values())
    assert cells(text, "erm")["cAcc"] == f"{mean:.1f} ± {sd:.1f}"
    assert "seeds 0, 1, 2, mean ± standard deviation" in text
    assert "resnet50, vlcs, trained on SUN09, n = 123 test images" in text


def test_one_seed_has_no_standard_deviation():
    text = comparison([row("clean_accuracy", 80.0)])
    assert cells(text, "erm") == {"method": "erm", "cAcc": "80.0"}
    assert "±" not in text


def test_published_figures_are_in_brackets_where_there_are_any():
    rows = [
        row("clean_accuracy", 80.0),
        row("robust_accuracy", 10.0, **ATTACK),
        row("comprehensiveness", 20.0, map="model", **MAPS),
        row("sufficiency", 30.0, map="model", **MAPS),
        row("comprehensiveness", 5.0, map="random", **MAPS),
        row("clean_accuracy", 70.0, method="pgd_at"),
    ]
    line = cells(comparison(rows, PAPER), "erm")
    assert line["cAcc"] == "80.0 [81.2]"
    assert line["aAcc 0.01"] == "10.0 [7.0]"
    assert line["Comp"] == "20.0 [18.6]"
    assert line["Suff"] == "30.0 [27.2]"
    assert line["Comp random"] == "5.0"
    assert "In brackets" in comparison(rows, PAPER)
    assert "[" not in comparison(rows)


def test_a_method_without_a_figure_has_a_dash():
    text = comparison(
        [
            row("clean_accuracy", 80.0),
            row("robust_accuracy", 10.0, **ATTACK),
            row("clean_accuracy", 70.0, method="mine"),
        ]
    )
    assert cells(text, "mine")["aAcc 0.01"] == "-"


def test_out_of_domain_accuracy_is_the_mean_over_the_other_domains():
    rows = [
        row("clean_accuracy", value + seed, test=test, seed=seed)
        for seed in (0, 2)
        for test, value in (("SUN09", 80.0), ("LabelMe", 50.0), ("VOC2007", 60.0))
    ]
    line = cells(comparison(rows), "erm")
    assert line["cAcc"] == f"81.0 ± {statistics.stdev([80, 82]):.1f}"
    assert line["cAcc OOD"] == f"56.0 ± {statistics.stdev([55, 57]):.1f}"


def test_the_average_is_over_domains_within_a_seed_and_leaves_out_incomplete_seeds():
    rows = [
        row("clean_accuracy", v, train=d, seed=s)
        for s, d, v in ((0, "SUN09", 80), (0, "LabelMe", 60), (1, "SUN09", 90))
    ]
    text = comparison(rows)
    assert cells(text, "erm", block=0)["cAcc"] == f"85.0 ± {statistics.stdev([80, 90]):.1f}"
    assert cells(text, "erm", block=1)["cAcc"] == "60.0"
    assert cells(text, "erm", block=2)["cAcc"] == "70.0"
    assert "trained on average" in text


def test_attacks_on_explanations_have_columns_of_their_own_and_change_no_other():
    of_maps = {"explanation": "grad_cam", "measure": "topk_overlap"}
    plain = [row("robust_accuracy", 10.0, **ATTACK), row("stability", 0.7, **of_maps, **ATTACK)]
    theirs = [
        row(metric, value, **of_maps, **{**ATTACK, "attack": attack})
        for attack, value in (("top_k", 0.2), ("keep_map", 0.4))
        for metric in (
            "map_stability",
            "flipped_stability",
            "explanation_attack_success",
            "flipped_predictions",
            "dead_map_pairs",
        )
    ]
    expected = cells(comparison(plain), "erm")
    found = cells(comparison([*theirs, *plain]), "erm")
    assert found == {**expected, "attack success top_k": "0.2", "attack success keep_map": "0.4"}
    assert expected["stability"] == "0.70"


def test_budgets_have_columns_of_their_own():
    rows = [
        row("clean_accuracy", 80.0),
        *(row("robust_accuracy", v, **{**ATTACK, "epsilon": e}) for e, v in ((0.03, 5.0), (0.01, 40.0))),
    ]
    assert list(cells(comparison(rows), "erm")) == ["method", "cAcc", "aAcc 0.01", "aAcc 0.03"]
    assert "(attack pgd, steps 10)" in comparison(rows)


def test_a_second_attack_has_columns_of_its_own():
    second = {"attack": "auto_attack", "epsilon": 0.01, "plan": "apgd_ce x1", "images": 50}
    rows = [
        row("clean_accuracy", 80.0),
        row("robust_accuracy", 40.0, **ATTACK),
        row("robust_accuracy", 20.0, **{**ATTACK, "epsilon": 0.03}),
        row("robust_accuracy", 30.0, **second),
        row("robust_accuracy_after", 35.0, **second, after="apgd_ce"),
        row("robust_accuracy", 25.0, **{**ATTACK, "steps": 100}),
    ]
    text = comparison(rows, PAPER)
    assert cells(text, "erm") == {
        "method": "erm",
        "cAcc": "80.0 [81.2]",
        "aAcc 0.01": "40.0 [7.0]",
        "aAcc 0.03": "20.0",
        "aAcc 0.01 auto_attack": "30.0",
        "aAcc 0.01 pgd": "25.0",
    }
    assert (
        "attack auto_attack, plan apgd_ce x1, images 50; attack pgd, steps 10; attack pgd, steps 100" in text
    )
    egat = [
        row("robust_accuracy", 37.0, method="egat", **second),
        row("robust_accuracy", 41.0, method="egat", **ATTACK),
    ]
    line = cells(comparison([*rows, *egat]).split("## egat against")[1], "egat - erm")
    assert (line["aAcc 0.01"], line["aAcc 0.01 auto_attack"]) == ("1.0", "7.0")


def test_accuracy_under_corruptions_is_a_column_where_it_was_measured():
    single = row("corruption_accuracy", 12.0, corruption="fog", severity=3)
    mean = [
        row("mean_corruption_accuracy", value, seed=seed, corruptions="fog, snow", severities="3")
        for seed, value in ((0, 40.0), (1, 42.0))
    ]
    text = comparison(
        [row("clean_accuracy", 80.0, seed=0), row("clean_accuracy", 82.0, seed=1), single, *mean]
    )
    assert list(cells(text, "erm")) == ["method", "cAcc", "mCA"]
    assert cells(text, "erm")["mCA"] == f"41.0 ± {statistics.stdev([40, 42]):.1f}"
    assert "(corruptions fog, snow, severities 3)" in text


def test_a_budget_on_latents_is_never_among_those_on_pixels():
    latent = {"attack": "sca", "budget_space": "latent", "steps": 10}
    rows = [row("clean_accuracy", 80.0, method=method) for method in ("erm", "egat")]
    rows += [
        row("robust_accuracy", value, method=method, latent_epsilon=epsilon, **latent)
        for method in ("erm", "egat")
        for epsilon, value in ((0.0, 75.0), (0.1, 3.0))
    ]
    names = ["method", "cAcc", "aAcc latent_epsilon 0", "aAcc latent_epsilon 0.1"]
    text = comparison(rows, PAPER)
    assert list(cells(text, "erm")) == names
    assert "[" not in cells(text, "erm")["aAcc latent_epsilon 0"]
    assert "not comparable with epsilon" in text
    pixels = [row("robust_accuracy", 40.0, method=method, **ATTACK) for method in ("erm", "egat")]
    both = comparison([*rows, *pixels])
    assert list(cells(both, "erm")) == [*names[:2], "aAcc 0.01", *names[2:]]
    assert cells(both, "erm")["aAcc 0.01"] == "40.0"
    assert "aAcc latent_epsilon 0.1 from" in cells(both.split("## egat against")[1], "egat - erm")


def test_best_is_bold_if_it_leads_by_more_than_the_deviation():
    def line(*values):
        return (Entry(Summary.of(values)),)

    def best(better="higher", **lines):
        table = mark_best(Table("", ("figure",), lines), [better])
        return [name for name, (entry,) in table.lines.items() if entry.best]

    assert best(a=line(80, 82), b=line(70, 72)) == ["a"]
    assert best("lower", a=line(80, 82), b=line(70, 72)) == ["b"]
    assert best(a=line(80, 82), b=line(79, 81)) == []
    assert best(a=line(80, 82), b=line(60, 90)) == []
    assert best(a=line(80), b=line(70)) == []
    assert best(a=line(80, 82)) == []
    assert best(None, a=line(80, 82), b=line(70, 72)) == []
    assert best(a=line(80, 82), b=(Entry(),)) == []


def test_ranks_share_their_mean_where_values_are_equal():
    assert ranks({"a": 3.0, "b": 5.0, "c": 3.0, "d": 1.0}) == {"b": 1, "a": 2.5, "c": 2.5, "d": 4}


def out_of_domain_rows():
    return [
        row("clean_accuracy", value + seed, method=method, train=train, test=test, seed=seed)
        for position, method in enumerate(NAMES)
        for seed in (0, 1)
        for train, test, value in (
            ("SUN09", "SUN09", 80.0),
            ("SUN09", "LabelMe", 50.0 + position),
            ("LabelMe", "LabelMe", 70.0),
            ("LabelMe", "SUN09", 40.0 - position),
        )
    ]


def test_ranks_have_mean_and_variance_over_pairs_of_domains():
    text = comparison(out_of_domain_rows(), PAPER).split("## Out of domain")[1]
    first, last = cells(text, "erm", block=2), cells(text, "dre", block=2)
    assert first["mean rank"].startswith("2.00")
    assert first["variance"] == "1.00"  # ranks 3 and 1
    assert last["mean rank"].startswith("2.00")
    assert last["variance"] == "0.00"
    assert "ranks among 3 methods over 2 pairs of domains" in text


def test_repeated_figures_of_the_paper_are_marked_where_they_are_printed():
    text = comparison(out_of_domain_rows(), PAPER)
    assert cells(text.split("## Out of domain")[1], "dre")["-> LabelMe"].endswith("?]")
    assert not cells(text.split("## Out of domain")[1], "erm")["-> LabelMe"].endswith("?]")
    assert "Question mark" in text
    values = {
        ("dre", "a", "b", "clean_accuracy"): 1.0,
        ("dre", "b", "a", "clean_accuracy"): 1.0,
        ("dre", "a", "c", "clean_accuracy"): 1.0,
    }
    assert Published(values).suspect("dre", [("a", "b")])
    assert not Published(values).suspect("dre", [("a", "c"), ("a", "a")])


def test_the_ablation_has_a_table_of_its_own():
    rows = [row("clean_accuracy", 80.0, method=m) for m in ("erm", "trades", "egat", "egat_without_at")]
    text = comparison(rows, PAPER)
    first, ablation = text.split("## Ablation")
    assert "egat_without_at" not in first
    assert cells(ablation, "egat_without_at")["cAcc"] == "80.0 [82.6]"
    assert "trades" not in ablation.split("##")[1]


def test_other_explanations_and_guides_have_tables_of_their_own():
    methods = ("erm", "igr", "egat", "egat_finer_cam", "egat_without_at")
    own = [row("clean_accuracy", 80.0, method=m, train="Caltech101") for m in methods]
    other = [row("clean_accuracy", 40.0, method=m, train="Caltech101", test="SUN09") for m in methods]
    text = comparison([*own, *other], [FOLDER / "table3.csv"])
    first, sensitivity = text.split("## Sensitivity to explanation and guide")
    assert "egat_finer_cam" not in first
    assert cells(sensitivity, "egat_finer_cam")["cAcc"] == "80.0 [99.5]"
    assert cells(sensitivity, "egat_finer_cam", block=1)["-> SUN09"] == "40.0 [44.4]"
    assert "igr" in sensitivity
    assert not {"erm", "egat_without_at"} & set(sensitivity.split("\n## ")[0].split())


def test_differences_are_those_of_the_same_images():
    def outcome(method, seed, values):
        return Outcome(row("clean_accuracy", sum(values) / len(values), method=method, seed=seed), values)

    outcomes = [
        outcome("egat", 0, [100.0, 100.0, 0.0, 100.0]),
        outcome("erm", 0, [100.0, 0.0, 0.0, 100.0]),
        outcome("erm", 1, [0.0, 0.0, 0.0, 0.0]),
    ]
    text = report(outcomes).markdown().split("## egat against")[1]
    line = cells(text, "egat - erm")
    assert line["cAcc"] == "25.0"  # of the seed that both have
    assert float(line["cAcc from"]) == 0
    assert float(line["cAcc to"]) == 75


@pytest.fixture
def table():
    return Table(
        "a_title & more",
        ("cAcc", "aAcc 0.01"),
        {
            "erm": (Entry(Summary.of([80.0, 82.0]), published=81.25, suspect=True, best=True), Entry()),
            "my_method": (Entry(Summary.of([70.0])), Entry(published=5.0)),
        },
    )


def test_markdown(table):
    lines = markdown(table).splitlines()
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == ["erm", "**81.0 ± 1.4** [81.2?]", "-"]
    assert [cell.strip() for cell in lines[3].strip("|").split("|")] == ["my_method", "70.0 (n=1)", "- [5.0]"]


def test_latex(table):
    text = latex(table)
    assert "\\textbf{81.0 $\\pm$ 1.4} [81.2?]" in text
    assert "my\\_method" in text
    assert "a\\_title \\& more" in text
    assert [text.count(f"\\{rule}") for rule in ("toprule", "midrule", "bottomrule")] == [1, 1, 1]
    assert text.count(" & ") + text.count("& ") >= 6


def test_csv_has_full_precision_and_a_line_for_every_entry(table):
    lines = list(csv.DictReader(io.StringIO(to_csv([table]))))
    assert len(lines) == 3
    assert lines[0] == {
        "table": "a_title & more",
        "method": "erm",
        "column": "cAcc",
        "mean": "81.0",
        "sd": str(statistics.stdev([80, 82])),
        "n": "2",
        "published": "81.25",
        "suspect": "1",
        "best": "1",
    }
    assert (lines[1]["mean"], lines[1]["sd"], lines[1]["n"]) == ("70.0", "", "1")
    assert (lines[2]["mean"], lines[2]["published"]) == ("", "5.0")


FAITHFUL = {"explanation": "grad_cam", "q": 0.2, "fill": "mean", "class": "predicted"}
ATTACKED = {"explanation": "grad_cam", **ATTACK}


def faithfulness_rows(metric, values, *, method="erm", **settings):
    return [
        row(metric, value, method=method, map=name, **{**FAITHFUL, **settings})
        for name, value in zip(("model", "random"), values, strict=True)
    ]


def test_the_table_of_the_paper_shows_the_first_share_and_fill_and_the_whole_of_stability():
    rows = [
        row("clean_accuracy", 80.0),
        *faithfulness_rows("comprehensiveness", (20, 5)),
        *faithfulness_rows("comprehensiveness", (40, 15), q=0.5),
        *faithfulness_rows("comprehensiveness", (30, 10), fill="black"),
        row("stability", 0.9, measure="topk_overlap", **ATTACKED),
        row("stability", 0.99, measure="topk_overlap", prediction="kept", **ATTACKED),
        row("stability", 0.7, measure="ssim", **ATTACKED),
    ]
    text = comparison(rows)
    assert cells(text, "erm") == {
        "method": "erm",
        "cAcc": "80.0",
        "Comp": "20.0",
        "Comp random": "5.0",
        "stability": "0.90",
    }
    assert "Comp: fall of" in text
    assert "q 0.5" not in text


def test_maps_have_a_section_of_their_own_with_controls_beside():
    located = {"explanation": "grad_cam", "class": "predicted"}
    rows = [
        row("clean_accuracy", 80.0),
        *faithfulness_rows("relative_comprehensiveness", (25, 6)),
        *faithfulness_rows("comprehensiveness_aopc", (22, 7), shares="0.1 0.5"),
        *faithfulness_rows("comprehensiveness_aopc", (33, 8), shares="0.1 0.5", fill="black"),
        row("pointing_game", 70.0, map="model", tolerance=15, **located),
        row("pointing_game", 90.0, map="centre", tolerance=15, **located),
        row("mask_area", 12.0),
        row("stability", 0.9, measure="ssim", **ATTACKED),
        row("stability", 0.5, measure="ssim", prediction="flipped", **ATTACKED),
        row("stability", 0.6, measure="topk_overlap", prediction="flipped", **ATTACKED),
    ]
    text = comparison(rows).split("## Explanations")[1]
    assert cells(text, "erm", 0) == {
        "method": "erm",
        "comprehensiveness / p": "25.0",
        "comprehensiveness / p random": "6.0",
        "comprehensiveness AOPC": "22.0",
        "comprehensiveness AOPC random": "7.0",
    }
    located = {"method": "erm", "pointing": "70.0", "pointing centre": "90.0", "mask area": "12.0"}
    assert cells(text, "erm", 1) == located
    assert cells(text, "erm", 2) == {"method": "erm", "ssim": "0.90", "topk_overlap flipped": "0.60"}
    assert "## Explanations" not in comparison([row("clean_accuracy", 80.0)])


def test_failed_sanity_check_is_noted_below_the_tables():
    flags = [
        row(
            "sanity_check",
            value,
            method=method,
            seed=seed,
            check="random_maps_score_high",
            limit=0.0,
            **FAITHFUL,
        )
        for method, values in (("erm", (100.0, 0.0)), ("egat", (0.0, 0.0)))
        for seed, value in enumerate(values)
    ]
    text = comparison([row("clean_accuracy", 80.0), *flags])
    assert "Caution: random maps are comprehensive too" in text
    assert "(erm in 1 of 2 runs)" in text
    assert "Caution" not in comparison([row("clean_accuracy", 80.0), *flags[1:]])
