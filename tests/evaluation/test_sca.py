"""Figures of a classifier under SCA."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest
import torch

from egat_hub.attacks.diffusion import Prompts
from egat_hub.core.randomness import SampleRandom
from egat_hub.core.results import Outcome
from egat_hub.evaluation import evaluate_sca
from tests.attacks.diffusion.tiny import CLASSES, attack, classifier, make_images

IMAGES, TRUE = make_images(12, seed=2)
LABELS = torch.where(torch.arange(12) < 10, TRUE, (TRUE + 1) % CLASSES)  # the last two are misclassified
DATA = list(zip(IMAGES, LABELS.tolist(), strict=True))
BUDGETS = (0.08, 0.15)


def figures(outcomes: list[Outcome]) -> dict[tuple[str, float | None], Outcome]:
    return {(o.row.metric, o.row.protocol.get("latent_epsilon")): o for o in outcomes}


@pytest.fixture(scope="module")
def found():
    return figures(evaluate_sca(classifier(), DATA, attack(), latent_epsilons=BUDGETS, batch_size=4))


def test_figures_are_those_of_the_attack_on_what_stands(found):
    model, sca = classifier(), attack()
    standing = LABELS == TRUE
    assert found["clean_accuracy", None].values == [100.0 * right for right in standing.tolist()]
    assert found["robust_accuracy", 0.0].values == [100.0 * right for right in standing.tolist()]
    for epsilon in BUDGETS:
        rows = standing.nonzero()[:, 0]
        draws = SampleRandom(0, tuple(rows.tolist()))
        result = sca.perturb(model, IMAGES[rows], LABELS[rows], epsilon, random=draws)
        standing[rows[result.success]] = False
        assert found["robust_accuracy", epsilon].values == [100.0 * right for right in standing.tolist()]
        row = found["pixel_linf", epsilon].row
        assert row.n == int(result.success.sum())
        expected = statistics.fmean(result.pixel_linf[result.success].tolist())
        assert math.isclose(row.value, expected, rel_tol=1e-4)
    low, high = (found["robust_accuracy", epsilon].row.value for epsilon in BUDGETS)
    assert high < low < 100 * 10 / 12


def test_no_protocol_has_a_budget_of_pixels(found):
    attacked = [outcome.row for (metric, _), outcome in found.items() if metric != "clean_accuracy"]
    assert len(attacked) == 1 + 3 * len(BUDGETS)
    for row in attacked:
        assert "epsilon" not in row.protocol
        assert row.protocol["budget_space"] == "latent"
        assert row.protocol["attack"] == "sca"


def test_a_run_goes_on_where_it_stopped(found, tmp_path, monkeypatch):
    sca, calls = attack(), []
    perturb = type(sca).perturb

    def counted(self, model, images, labels, epsilon, **options):
        calls.append(len(images))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return perturb(self, model, images, labels, epsilon, **options)

    monkeypatch.setattr(type(sca), "perturb", counted)
    settings = {"latent_epsilons": BUDGETS, "batch_size": 4, "journal": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        evaluate_sca(classifier(), DATA, sca, **settings)
    again = figures(evaluate_sca(classifier(), DATA, sca, **settings))
    assert again.keys() == found.keys()
    for key, outcome in again.items():
        torch.testing.assert_close(
            torch.tensor(outcome.values), torch.tensor(found[key].values), equal_nan=True
        )
    done = len(calls)
    evaluate_sca(classifier(), DATA, sca, **settings)
    assert len(calls) == done


def test_batches_of_others_are_refused(tmp_path):
    data, settings = DATA[:2], {"latent_epsilons": (0.15,), "journal": tmp_path}
    sca = attack()
    evaluate_sca(classifier(), data, sca, **settings)
    other = classifier()
    with torch.no_grad():
        other[-1].bias += 0.5
    for model, dataset, judged in (
        (other, data, sca),
        (classifier(), DATA[4:6], sca),
        (classifier(), data, replace(sca, steps=1)),
        (classifier(), data, replace(sca, prompts=Prompts(label_names=("a", "b", "c", "d"), template="{}"))),
    ):
        with pytest.raises(ValueError, match="batches of another evaluation"):
            evaluate_sca(model, dataset, judged, **settings)


@pytest.mark.parametrize("budgets", [(), (0.0, 0.1), (0.2, 0.1), (0.1, 0.1), (-0.1,)])
def test_budgets_that_are_none_are_refused(budgets):
    with pytest.raises(ValueError, match="above 0 and ascending"):
        evaluate_sca(classifier(), DATA, attack(), latent_epsilons=budgets)


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="labels from 0 to below 4"):
        evaluate_sca(classifier(), [(IMAGES[0], 7)], attack())
