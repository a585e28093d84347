"""Rows of explanation metrics beyond the headline equal the metrics of single images."""

from __future__ import annotations

import pytest
import torch

from egat_hub.core.randomness import SampleRandom
from egat_hub.evaluation import EvaluationConfig, evaluate, evaluate_per_image
from egat_hub.explanations import GradCAM
from egat_hub.explanations.similarity import STABILITY
from egat_hub.metrics import CONTROLS, Faithfulness, InsertionDeletion, Localisation
from tests.helpers.training import network, view

SEED = 5
SHARES = (0.05, 0.5)
CURVES = InsertionDeletion(steps=3, insertion_fill="noise", target="label")
CONFIG = EvaluationConfig(
    epsilons=(0.004,),
    attack_options={"steps": 3},
    faithfulness=Faithfulness(shares=SHARES, fills=("noise",)),
    insertion_deletion=CURVES,
    localisation=Localisation(tolerance=2, threshold=0.3),
    batch_size=5,
    seed=SEED,
)


@pytest.fixture(scope="module")
def model():
    return network().eval()


@pytest.fixture(scope="module")
def items(model):
    """Every image with the label that the network gives it, and of the last one an empty mask."""
    shown = [dict(item) for item in view("test")]
    for item in shown:
        item["label"] = model(item["image"][None]).argmax()
    shown[-1]["mask"] = torch.zeros_like(shown[-1]["mask"])
    return shown


@pytest.fixture(scope="module")
def outcomes(model, items):
    return evaluate_per_image(model, items, CONFIG)


@pytest.fixture(scope="module")
def rows(outcomes):
    return [row for row, _ in outcomes]


def value(rows, metric, **protocol):
    (row,) = [r for r in rows if r.metric == metric and protocol.items() <= r.protocol.items()]
    return row.value


def mean(items):
    items = [float(item) for item in items]
    return sum(items) / len(items)


def map_of(model, item, name):
    """One image: its map [1,h,w], and the draws that belong to it."""
    saliency = GradCAM(relu=False, normalize="none")(model, item["image"][None]).detach()
    draws = SampleRandom(SEED, (int(item["index"]),))
    return saliency if name == "model" else CONTROLS[name](saliency, draws), draws


@pytest.mark.parametrize("name", ["model", *CONTROLS])
def test_comprehensiveness_and_sufficiency_at_every_share(model, items, rows, name):
    found = []
    for item in items:
        saliency, draws = map_of(model, item, name)
        p = model(item["image"][None]).softmax(1).amax(1).detach()
        faithful = CONFIG.faithfulness
        found.append((faithful(model, item["image"][None], saliency, item["label"][None], p, draws), p))
    for place, (q, fill) in enumerate(CONFIG.faithfulness.settings):
        comp = value(rows, "comprehensiveness", map=name, q=q, fill=fill)
        assert comp == pytest.approx(100 * mean(removals[place].comp for removals, _ in found), abs=1e-3)
    shares = {"shares": "0.05 0.5", "map": name}
    for fill in ("mean", "noise"):
        over = [value(rows, "sufficiency", map=name, q=q, fill=fill) for q in SHARES]
        assert value(rows, "sufficiency_aopc", fill=fill, **shares) == pytest.approx(mean(over))
    relative = mean(removals[0].comp / p for removals, p in found)
    assert value(rows, "relative_comprehensiveness", map=name, q=0.2, fill="mean") == pytest.approx(
        100 * relative, abs=1e-3
    )


@pytest.mark.parametrize("name", ["model", *CONTROLS])
def test_insertion_deletion_and_localisation_rows(model, items, rows, name):
    areas, located, inside = [], [], []
    for item in items:
        saliency, draws = map_of(model, item, name)
        areas.append(CURVES(model, item["image"][None], saliency, item["label"][None], draws))
        inside.append(item["mask"][0] >= 0.5)
        located.append(CONFIG.localisation(saliency, inside[-1][None]))
    for metric, area in (("insertion_auc", "insertion"), ("deletion_auc", "deletion")):
        expected = 100 * mean(getattr(each, area) for each in areas)
        assert value(rows, metric, map=name) == pytest.approx(expected, abs=1e-3)
    assert value(rows, "mask_area") == pytest.approx(100 * mean(mask.float().mean() for mask in inside))
    for metric, figure in (("pointing_game", "pointing"), ("energy_inside", "energy"), ("mask_iou", "iou")):
        expected = 100 * mean(getattr(each, figure) for each in located[:-1])  # the last has no object
        assert value(rows, metric, map=name) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("measure", sorted(STABILITY))
def test_stability_is_split_by_whether_the_prediction_changed(outcomes, measure):
    (correct,) = [values for row, values in outcomes if row.metric == "robust_accuracy"]
    stable = {
        row.protocol.get("prediction"): values
        for row, values in outcomes
        if row.metric == "stability" and row.protocol["measure"] == measure
    }
    kept, flipped = (torch.tensor(stable[name]) for name in ("kept", "flipped"))
    assert torch.equal(kept.isnan(), torch.tensor(correct) == 0)  # all are right clean, none is dead
    assert torch.equal(flipped.isnan(), torch.tensor(correct) == 100)
    torch.testing.assert_close(torch.where(kept.isnan(), flipped, kept), torch.tensor(stable[None]))


def test_default_metrics_need_only_the_forwards_of_faithfulness(model, items):
    seen = []
    forward = model.net.forward_features
    model.net.forward_features = lambda images: seen.append(len(images)) or forward(images)
    try:
        evaluate(model, items, EvaluationConfig(epsilons=()))
    finally:
        del model.net.forward_features
    assert seen == [1] * 3 + [len(items)] * (
        1 + 2 * (1 + len(CONTROLS))
    )  # the outputs are checked on one image


def test_data_without_masks_have_no_localisation_rows(model, items):
    plain = [(item["image"], int(item["label"])) for item in items]
    metrics = {row.metric for row in evaluate(model, plain, EvaluationConfig(epsilons=()))}
    assert not metrics & {"mask_area", "pointing_game", "energy_inside", "mask_iou"}
