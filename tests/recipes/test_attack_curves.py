"""Attack curves: what is measured, what stands in the table, and what is drawn."""

from __future__ import annotations

import attack_curves
import pytest
import torch
from attack_curves import curve_figure, transfer, transfer_table
from torch import nn

from egat_hub.attacks import PGD
from egat_hub.core.randomness import SampleRandom
from egat_hub.core.results import Summary, read_rows
from egat_hub.experiments import ExtraAttack
from egat_hub.experiments.tables.table import markdown
from tests.experiments.tiny import parsed, tiny

SEVERAL = '[{"attack": "fgsm", "epsilons": [0.05, 0.2]}, {"attack": "pgd", "epsilons": [0.01, 0.2]}]'


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("curves")
    methods = ("--methods", "erm", "pgd_at", "--seeds", "0", "1", "--pgd_at.attack_steps", "1")
    attack_curves.attack_curves(tiny(output, *methods, "--extra_attacks", SEVERAL))
    return output


def test_attacks_of_the_paper_are_the_default():
    attacks = attack_curves.with_curves(parsed()).extra_attacks
    assert [attack.attack for attack in attacks] == ["fgsm", "mi_fgsm", "pgd"]
    assert {attack.epsilons for attack in attacks} == {(0.01, 0.02, 0.03, 0.04)}
    named = attack_curves.with_curves(parsed("--extra_attacks", '[{"attack": "pgd"}]'))
    assert named.extra_attacks == (ExtraAttack(attack="pgd", epsilons=(0.01, 0.02, 0.03, 0.04)),)


def test_curves_begin_at_the_clean_accuracy_and_fall(finished):
    rows = read_rows(finished / "attack_curves.json")
    text = (finished / "attack_curves.md").read_text()
    assert (finished / "attack_curves_meadow.png").stat().st_size > 5000
    for method in ("erm", "pgd_at"):
        for attack, budgets in (("fgsm", (0.05, 0.2)), ("pgd", (0.01, 0.2))):
            for seed in (0, 1):
                mine = [row for row in rows if (row.method, row.seed) == (method, seed)]
                clean = next(row.value for row in mine if row.metric == "clean_accuracy")
                robust = {
                    row.protocol["epsilon"]: row.value
                    for row in mine
                    if row.metric == "robust_accuracy" and row.protocol["attack"] == attack
                }
                assert clean >= robust[budgets[0]] >= robust[budgets[1]]
        assert f"| {method}" in text
    assert "seeds 0, 1; n = 10 (at epsilon 0 all test images)." in text
    assert "pgd, 10 steps: 0.01" in (finished / "attack_curves.csv").read_text()


def test_attacks_of_the_same_settings_count_once(finished):
    rows = read_rows(finished / "attack_curves.json")
    seen = [(row.method, row.seed, row.metric, str(row.protocol)) for row in rows]
    assert len(seen) == len(set(seen))


def test_every_attack_has_a_curve():
    curve = {0.0: Summary(90, 1, 2), 0.01: Summary(50, 2, 2)}
    panels = {"fgsm": {"erm": curve, "egat": curve}, "pgd, 10 steps": {"egat": curve}}
    figure = curve_figure(panels, "title", "caption", chance=20)
    assert [axes.get_title() for axes in figure.axes] == [*panels]
    lines = {line.get_linestyle() for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 2}
    assert len(lines) >= 2
    table = attack_curves.curve_table(panels, "title")
    assert table.columns == ("fgsm: 0.01", "pgd, 10 steps: 0.01")
    assert table.lines["erm"][1].summary is None


class Threshold(nn.Module):
    """Class 1 where the mean is above one half, with a gradient or without."""

    def __init__(self, sound):
        super().__init__()
        self.sound = sound

    def forward(self, images):
        seen = images if self.sound else (images * 64).round() / 64
        score = 50 * (seen.flatten(1).mean(1) - 0.5)
        return torch.stack([-score, score], 1)


def test_transfer_attack_on_a_model_without_gradient():
    labels = torch.arange(8) % 2
    images = (0.5 + 0.04 * (2 * labels - 1)).view(-1, 1, 1, 1).expand(8, 3, 6, 6).clone()
    models = {"sound": Threshold(True), "masked": Threshold(False)}
    found = transfer(models, images, labels, PGD(start="clean"), 0.08, SampleRandom(0, tuple(range(8))))
    assert found == {
        ("sound", "sound"): 0,
        ("masked", "sound"): 0,
        ("sound", "masked"): 100,
        ("masked", "masked"): 100,
    }
    table = transfer_table([found, found], "title")
    assert "against sound" in markdown(table)
    (flag,) = attack_curves.worse_transfer(table)
    assert "masked falls to 0.0 % by images made against sound" in flag
