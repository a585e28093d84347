"""Evaluation under an attack in latent space."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
import torch

from egat_hub.attacks.diffusion import Prompts
from egat_hub.core.randomness import SampleRandom
from egat_hub.core.results import Outcome
from egat_hub.evaluation import EvaluationConfig, evaluate_per_image
from tests.attacks.diffusion.tiny import CLASSES, attack, classifier, make_images

IMAGES, TRUE = make_images(12, seed=2)
LABELS = torch.where(torch.arange(12) < 10, TRUE, (TRUE + 1) % CLASSES)  # the last two are misclassified
DATA = list(zip(IMAGES, LABELS.tolist(), strict=True))
BUDGETS = (0.0, 0.08, 0.15)
CONFIG = EvaluationConfig(epsilons=BUDGETS, batch_size=4)


def by_budget(outcomes: list[Outcome]) -> dict[tuple[str, float | None], Outcome]:
    return {(o.row.metric, o.row.protocol.get("latent_epsilon")): o for o in outcomes}


@pytest.fixture(scope="module")
def found():
    return by_budget(evaluate_per_image(classifier(), DATA, CONFIG, attack=attack()))


def test_rows_are_computed_on_images_still_correct(found):
    model, sca = classifier(), attack()
    correct = LABELS == TRUE
    assert found["clean_accuracy", None].values == [100.0 * right for right in correct.tolist()]
    for epsilon in BUDGETS:
        rows = correct.nonzero()[:, 0]
        draws = SampleRandom(0, tuple(rows.tolist()))
        images = sca(model, IMAGES[rows], LABELS[rows], epsilon, random=draws)
        wrong = model(images).argmax(1) != LABELS[rows]
        correct[rows[wrong]] = False
        assert found["robust_accuracy", epsilon].values == [100.0 * right for right in correct.tolist()]
        if epsilon:
            row = found["pixel_linf", epsilon].row
            moved = (images - IMAGES[rows]).flatten(1).abs().amax(1)[wrong]
            assert row.n == len(moved)
            assert row.value == pytest.approx(statistics.fmean(moved.tolist()), rel=1e-4)
    control, low, high = (found["robust_accuracy", epsilon].row.value for epsilon in BUDGETS)
    assert high < low < control == pytest.approx(100 * 10 / 12)


def test_protocol_has_no_pixel_epsilon(found):
    attacked = [outcome.row for (metric, _), outcome in found.items() if metric != "clean_accuracy"]
    assert {row.metric for row in attacked} == {"robust_accuracy", "pixel_linf", "pixel_l2"}
    for row in attacked:
        assert "epsilon" not in row.protocol
        assert row.protocol["budget_space"] == "latent"
        assert row.protocol["attack"] == "sca"


def test_an_interrupted_evaluation_resumes(found, tmp_path, monkeypatch):
    sca, calls = attack(), []
    perturb = type(sca).perturb

    def counted(self, objective, images, epsilon, random):
        calls.append(len(images))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return perturb(self, objective, images, epsilon, random)

    monkeypatch.setattr(type(sca), "perturb", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_per_image(classifier(), DATA, CONFIG, attack=sca, journal=tmp_path)
    again = by_budget(evaluate_per_image(classifier(), DATA, CONFIG, attack=sca, journal=tmp_path))
    assert again.keys() == found.keys()
    for key, outcome in again.items():
        torch.testing.assert_close(
            torch.tensor(outcome.values), torch.tensor(found[key].values), equal_nan=True
        )
    done = len(calls)
    evaluate_per_image(classifier(), DATA, CONFIG, attack=sca, journal=tmp_path)
    assert len(calls) == done


def test_journal_of_another_evaluation_raises(tmp_path):
    data, config, sca = DATA[:2], replace(CONFIG, epsilons=(0.15,)), attack()
    evaluate_per_image(classifier(), data, config, attack=sca, journal=tmp_path)
    other = classifier()
    with torch.no_grad():
        other[-1].bias += 0.5
    for model, dataset, chosen in (
        (other, data, sca),
        (classifier(), DATA[4:6], sca),
        (classifier(), data, replace(sca, steps=1)),
        (classifier(), data, replace(sca, prompts=Prompts(label_names=("a", "b", "c", "d"), template="{}"))),
    ):
        with pytest.raises(ValueError, match="batches of another evaluation"):
            evaluate_per_image(model, dataset, config, attack=chosen, journal=tmp_path)
