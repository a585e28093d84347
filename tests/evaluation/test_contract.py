"""What evaluate() takes, what it leaves alone, and what its rows say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.explanations.similarity import STABILITY
from egat_hub.hub.classifier import Classifier
from egat_hub.metrics import CONTROLS, Faithfulness
from tests.helpers.training import CLASSES, SIZE, network, view

ATTACK = {"attack": "pgd", "steps": 2, "step_size": 0.75, "restarts": 2, "start": "normal"}
CONFIG = EvaluationConfig(
    epsilons=(0.01, 0.002),
    attack_options={"steps": 2, "step_size": 0.75, "start": "normal"},
    restarts=2,
    checks=0,
    faithfulness=Faithfulness(q=0.1, fill="blur", target="label"),
)


def pairs(count=9, wrong=False):
    images = torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    labels = network().eval()(images).argmax(1)
    return [(i, (int(label) + wrong) % CLASSES) for i, label in zip(images, labels, strict=True)]


def test_rows_have_a_full_protocol():
    named = {"method": "egat", "train_domain": "meadow", "seed": 4}
    rows = evaluate(network(), view("test"), CONFIG, **named)
    for row in rows:
        assert (row.model, row.method, row.dataset) == ("test_resnet", "egat", "synthetic")
        assert (row.train_domain, row.test_domain, row.split, row.seed) == ("meadow", "meadow", "test", 4)
        assert 0 < row.n <= 12
    attacked = [row.protocol for row in rows if row.metric == "robust_accuracy"]
    assert attacked == [{**ATTACK, "epsilon": 0.002}, {**ATTACK, "epsilon": 0.01}]
    faithful = {"explanation": "grad_cam", "q": 0.1, "fill": "blur", "class": "label"}
    for metric in ("comprehensiveness", "sufficiency"):
        protocols = [row.protocol for row in rows if row.metric == metric]
        assert protocols == [{**faithful, "map": name} for name in ("model", *CONTROLS)]
    stable = {"explanation": "grad_cam", **ATTACK, "epsilon": 0.002}
    protocols = [row.protocol for row in rows if row.metric == "stability"]
    splits = ({}, {"prediction": "kept"}, {"prediction": "flipped"})
    possible = [{**stable, "measure": name, **split} for name in STABILITY for split in splits]
    assert protocols == [protocol for protocol in possible if protocol in protocols]
    assert [protocol for protocol in protocols if "prediction" not in protocol] == possible[::3]
    assert [row.protocol for row in rows if row.metric == "clean_accuracy"] == [{}]


def test_model_with_other_class_names_raises():
    many = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 1000))
    with pytest.raises(ValueError, match=r"the data set's 5 classes, in their order, got one of 1000"):
        evaluate(many, view("test"), EvaluationConfig())
    assert evaluate(many, pairs(3), EvaluationConfig(epsilons=()))


@pytest.mark.parametrize("batch_size", [1, 64])
def test_batch_size_does_not_change_results(batch_size):
    settings = {"epsilons": (0.002,), "seed": 1}
    ours = evaluate(network(), pairs(), EvaluationConfig(batch_size=batch_size, **settings))
    theirs = evaluate(network(), pairs(), EvaluationConfig(batch_size=4, **settings))
    assert len(ours) == len(theirs) > 8
    for a, b in zip(ours, theirs, strict=True):
        assert (a.metric, a.protocol, a.n) == (b.metric, b.protocol, b.n)
        assert a.value == pytest.approx(b.value, abs=1e-3)


@pytest.mark.parametrize("workers", [0, 2])
def test_plain_pairs_give_the_same_results_as_a_view(workers):
    shown = view("test")
    plain = [(item["image"], int(item["label"])) for item in shown]
    config = EvaluationConfig(epsilons=(), faithfulness=None, localisation=None, batch_size=5)
    theirs = evaluate(network(), shown, config)
    for a, b in zip(evaluate(network(), plain, config, workers=workers), theirs, strict=True):
        assert (a.metric, a.value, a.n) == (b.metric, b.value, b.n)
        assert (a.dataset, a.test_domain, a.split) == ("", "", "")


def test_any_module_has_accuracy_and_robust_accuracy():
    class Linear(nn.Sequential):
        pass

    torch.manual_seed(0)
    model = Linear(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, CLASSES))
    images = [image for image, _ in pairs()]
    labels = model(torch.stack(images)).argmax(1).tolist()
    config = EvaluationConfig(epsilons=(0.001, 1.0), checks=0)
    rows = evaluate(model, list(zip(images, labels, strict=True)), config)
    found = {(row.model, row.metric, row.protocol.get("epsilon")): row.value for row in rows}
    assert found.keys() == {
        ("Linear", "clean_accuracy", None),
        *(
            ("Linear", metric, epsilon)
            for metric in ("robust_accuracy", "robust_accuracy_8bit")
            for epsilon in (0.001, 1.0)
        ),
    }
    assert found["Linear", "clean_accuracy", None] == 100
    assert found["Linear", "robust_accuracy", 1.0] == 0


def test_a_bare_timm_network_and_a_classifier_are_unwrapped():
    backbone = network().eval()
    expected = evaluate(backbone, pairs(), CONFIG)
    assert evaluate(backbone.net, pairs(), CONFIG) == expected
    assert evaluate(Classifier(backbone, list("abcde")), pairs(), CONFIG) == expected


def test_model_state_is_unchanged():
    backbone = network(drop_rate=0.5).train()
    backbone.net.layer1.eval()
    modes = [m.training for m in backbone.modules()]
    state = {name: value.clone() for name, value in backbone.state_dict().items()}
    first = evaluate(backbone, pairs(), CONFIG)
    assert evaluate(backbone, pairs(), CONFIG) == first
    assert [m.training for m in backbone.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in backbone.state_dict().items())
    assert all(p.grad is None for p in backbone.parameters())


def test_metrics_undefined_for_every_image_have_no_row():
    rows = evaluate(network(), pairs(wrong=True), CONFIG)
    faithful = {
        "comprehensiveness",
        "sufficiency",
        "relative_comprehensiveness",
        "relative_sufficiency",
        "sanity_check",
    }
    assert {row.metric for row in rows} == {
        "clean_accuracy",
        "robust_accuracy",
        "robust_accuracy_8bit",
        "dead_maps",
        *faithful,
    }
    assert {
        row.value
        for row in rows
        if row.metric in ("clean_accuracy", "robust_accuracy", "robust_accuracy_8bit")
    } == {0.0}


@pytest.mark.parametrize("pixel", [-0.5, 1.5, float("nan")])
def test_images_outside_the_unit_range_raise(pixel):
    samples = pairs()
    samples[3][0][0, 2, 2] = pixel
    with pytest.raises(
        ValueError, match=r"Expected images in \[0, 1\], got values from .* Leave normalization"
    ):
        evaluate(network(), samples, CONFIG)


@pytest.mark.parametrize("label", [-1, CLASSES])
@pytest.mark.parametrize("epsilons", [(), (0.01,)])
def test_labels_of_other_classes_raise(label, epsilons):
    samples = [*pairs(), (torch.zeros(3, SIZE, SIZE), label)]
    with pytest.raises(ValueError, match=f"Expected labels from 0 to below {CLASSES}, .* got {label}"):
        evaluate(network(), samples, EvaluationConfig(epsilons=epsilons))


def test_empty_data_set_raises():
    with pytest.raises(ValueError, match="got an empty data set"):
        evaluate(network(), [], CONFIG)


@pytest.mark.parametrize("settings", [{"epsilons": (2.0,)}, {"epsilons": (-0.1,)}, {"restarts": 0}])
def test_settings_out_of_range_raise(settings):
    with pytest.raises(ValueError, match="Expected"):
        EvaluationConfig(**settings)


@pytest.mark.parametrize(("depth", "explained"), [(2, True), (1, True), (0, False)])
def test_class_token_networks_have_every_explanation_metric(depth, explained):
    net = network("test_vit", img_size=SIZE, depth=depth)
    metrics = {row.metric for row in evaluate(net, view("test"), CONFIG)}
    maps = {"comprehensiveness", "sufficiency", "dead_maps", "dead_map_pairs"}
    assert {"clean_accuracy", "robust_accuracy"} <= metrics
    assert metrics & maps == (maps if explained else set())
