"""Every figure of evaluate() against a loop over single images."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.explanations.similarity import STABILITY, top_region
from egat_hub.metrics import CONTROLS, FILLS, Faithfulness
from tests.helpers.training import CLASSES, SIZE, network

EPSILONS = (0.01, 0.03)
COUNT = 23


@pytest.fixture(scope="module")
def model():
    return network().eval()


@pytest.fixture(scope="module")
def dataset(model):
    """Images and the labels that the network gives them, except for every fourth."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(COUNT, 3, SIZE, SIZE, generator=generator)
    images *= torch.rand(COUNT, 3, 1, 1, generator=generator)  # of different colours, predicted differently
    labels = model(images).argmax(1)
    labels[::4] = (labels[::4] + 1) % CLASSES
    return list(zip(images, labels.tolist(), strict=True))


def logits(model, image):
    return model.net((image[None] - model.mean) / model.std)[0]


def signed_cam(model, image, label):
    """In closed form, before the ReLU."""
    features = model.net.forward_features((image[None] - model.mean) / model.std)[0]
    return torch.einsum("k,khw->hw", model.net.fc.weight[label] / features[0].numel(), features).detach()


def grad_cam(model, image, label):
    """Scaled to [0, 1]."""
    positive = signed_cam(model, image, label).clamp(min=0)
    low, high = positive.min(), positive.max()
    return (positive - low) / (high - low) if high - low > 1e-6 else torch.zeros_like(positive)


def pgd(model, image, label, index, epsilon, *, steps=10, restart=0, seed=0):
    attacked = (
        image + SampleRandom(seed, (index,), restart).uniform(image[None], -epsilon, epsilon, "attack")[0]
    )
    attacked = attacked.clamp(0, 1)
    for _ in range(steps):
        attacked.requires_grad_()
        loss = F.cross_entropy(logits(model, attacked)[None], torch.tensor([label]))
        moved = attacked + epsilon * 2.5 / steps * torch.autograd.grad(loss, attacked)[0].sign()
        attacked = (image + (moved - image).clamp(-epsilon, epsilon)).clamp(0, 1).detach()
    return attacked


def values(rows, metric, **protocol):
    return [r.value for r in rows if r.metric == metric and protocol.items() <= r.protocol.items()]


def mean(items):
    items = [float(item) for item in items]
    return sum(items) / len(items)


@pytest.fixture(scope="module")
def rows(model, dataset):
    return evaluate(model, dataset, EvaluationConfig(epsilons=EPSILONS, batch_size=10, checks=0))


@pytest.fixture(scope="module")
def correctness(model, dataset):
    """Images that are right clean, and the attacked ones with their correctness, by epsilon."""
    right = [i for i, (image, label) in enumerate(dataset) if logits(model, image).argmax() == label]
    attacked, left = {}, right
    for epsilon in EPSILONS:
        found = {i: pgd(model, *dataset[i], i, epsilon) for i in left}
        left = [i for i in left if logits(model, found[i]).argmax() == dataset[i][1]]
        attacked[epsilon] = found, left
    return right, attacked


def test_accuracy_and_robust_accuracy(rows, correctness):
    right, attacked = correctness
    assert values(rows, "clean_accuracy") == [pytest.approx(100 * len(right) / COUNT)]
    assert [row.n for row in rows if row.metric == "robust_accuracy"] == [COUNT, COUNT]
    lefts = [len(attacked[epsilon][1]) for epsilon in EPSILONS]
    assert values(rows, "robust_accuracy") == [pytest.approx(100 * left / COUNT) for left in lefts]
    assert len(right) > lefts[0] > lefts[1] >= 0


def test_worst_restart_counts(model, dataset):
    (epsilon,) = EPSILONS[:1]
    config = EvaluationConfig(
        epsilons=(epsilon,), explanation=None, restarts=3, attack_options={"steps": 1}, checks=0
    )
    holds = [
        all(
            logits(model, pgd(model, image, label, i, epsilon, steps=1, restart=r)).argmax() == label
            for r in range(3)
        )
        and bool(logits(model, image).argmax() == label)
        for i, (image, label) in enumerate(dataset)
    ]
    assert values(evaluate(model, dataset, config), "robust_accuracy") == [pytest.approx(100 * mean(holds))]


@pytest.mark.parametrize("target", ["predicted", "label"])
@pytest.mark.parametrize("fill", sorted(FILLS))
def test_faithfulness_of_the_model_and_of_controls(model, dataset, target, fill):
    faithful = Faithfulness(q=0.3, fill=fill, target=target)
    config = EvaluationConfig(epsilons=(), faithfulness=faithful, batch_size=10, seed=5)
    rows = evaluate(model, dataset, config)
    for shown in ("model", *CONTROLS):
        comps, suffs = [], []
        for i, (image, label) in enumerate(dataset):
            c = label if target == "label" else int(logits(model, image).argmax())
            saliency = signed_cam(model, image, c)[None]
            if shown != "model":
                saliency = CONTROLS[shown](saliency, SampleRandom(5, (i,)))
            p = logits(model, image).softmax(0)[c][None]
            draws = SampleRandom(5, (i,))
            (removal,) = faithful(model, image[None], saliency, torch.tensor([c]), p, draws)
            comps.append(removal.comp)
            suffs.append(removal.suff)
        assert values(rows, "comprehensiveness", map=shown) == [pytest.approx(100 * mean(comps), abs=1e-3)]
        assert values(rows, "sufficiency", map=shown) == [pytest.approx(100 * mean(suffs), abs=1e-3)]


def test_stability_uses_correct_images_at_the_smallest_epsilon(model, dataset, rows, correctness):
    right, attacked = correctness
    pairs = [
        [
            signed_cam(model, image, dataset[i][1])[None]
            for image in (dataset[i][0], attacked[EPSILONS[0]][0][i])
        ]
        for i in right
    ]
    alive = [pair for pair in pairs if all(saliency.relu().any() for saliency in pair)]
    overlaps = [
        (top_region(a, 0.2, (SIZE, SIZE)) & top_region(b, 0.2, (SIZE, SIZE))).sum() / round(0.2 * SIZE**2)
        for a, b in alive
    ]
    cosines = [F.cosine_similarity(a.relu().flatten(), b.relu().flatten(), dim=0) for a, b in alive]
    whole = [r for r in rows if r.metric == "stability" and "prediction" not in r.protocol]
    for name, expected in (("topk_overlap", overlaps), ("cosine", cosines)):
        (row,) = [r for r in whole if r.protocol["measure"] == name]
        assert (row.n, row.protocol["epsilon"]) == (len(alive), EPSILONS[0])
        assert row.value == pytest.approx(mean(expected), abs=5e-3)
        assert 0 < row.value < 1
    assert {r.protocol["measure"] for r in whole} == set(STABILITY)
    (lost,) = values(rows, "dead_map_pairs")
    assert lost == pytest.approx(100 * (1 - len(alive) / len(right)))


def test_dead_maps_are_counted(model, dataset):
    broken = network().eval()
    others = torch.stack([logits(model, image)[2:].max() for image, _ in dataset])
    with torch.no_grad():
        broken.net.fc.weight[:2] = -1e-3  # nothing speaks for class 0, which is predicted half of the time
        broken.net.fc.bias[:2] = torch.tensor([others.median(), -10])
    rows = evaluate(broken, dataset, EvaluationConfig(epsilons=(), faithfulness=None))
    maps = [grad_cam(broken, image, int(logits(broken, image).argmax())) for image, _ in dataset]
    share = mean(not saliency.any() for saliency in maps)
    assert 0 < share < 1
    assert values(rows, "dead_maps") == [pytest.approx(100 * share)]
