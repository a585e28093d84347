"""DRE and SGDrop against their definitions, class by class and image by image."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.explanations import GradCAM
from egat_hub.methods import DRE, Batch, SGDrop
from egat_hub.methods.losses import Mixup
from tests.helpers.methods import CLASSES, batch, model
from tests.methods import reference


def test_dre_equals_the_official_loss():
    net, (images, labels) = model(), batch()
    out = DRE(net)(images, labels)
    random = SampleRandom(0, tuple(range(len(images))), 0)
    mixup = Mixup.draw(Batch(images, labels, None, random), alpha=0.2, same_class=True)
    explain = GradCAM(relu=False)
    exp, sparse, mix = 0.0, 0.0, 0.0
    mixed = mixup(images)
    for label in labels.unique():
        mine = labels == label
        maps, blended = explain(net, images, labels), mixup(explain(net, images, labels))
        mixed_maps = explain(net, mixed, labels)
        exp += (mixed_maps - blended)[mine].abs().mean() / CLASSES
        norms = [torch.linalg.norm(m[mine][:, None], ord=1, dim=(1, 2)).mean() for m in (maps, mixed_maps)]
        sparse += sum(norms) / 2 / CLASSES
        mix += F.cross_entropy(reference.logits(net, mixed)[mine], labels[mine]) / CLASSES
    torch.testing.assert_close(out["exp"], 1.0 * exp, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(out["mix"], 0.1 * mix, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(out["sparse"], 0.5 * sparse, rtol=1e-4, atol=1e-6)


def test_the_official_sparsity_of_dre_is_a_matrix_norm():
    net, (images, labels) = model(), batch()
    maps = GradCAM(relu=False)(net, images, labels)
    official = torch.linalg.norm(maps[:, None], ord=1, dim=(1, 2)).mean(1)
    torch.testing.assert_close(DRE(net)._norm(maps), official)
    torch.testing.assert_close(DRE(net, sparsity="mean_l1")._norm(maps), maps.mean((1, 2)))


def test_dre_weights_every_class_equally():
    net, (_, labels) = model(), batch()
    share = DRE(net)._class_share(labels)
    for label in labels.unique():
        torch.testing.assert_close(share[labels == label].sum(), torch.tensor(1 / CLASSES))


def test_sgdrop_drops_the_features_with_the_most_evidence():
    net, (images, labels) = model(), batch()
    features = net.features(images).detach()
    mask = SGDrop(net, drop=0.1)._mask(features, labels).flatten(1)
    weight = net.classifier.weight[labels].detach()
    evidence = (weight[:, :, None, None] * features).clamp_min(0).flatten(1)
    dropped = mask == 0
    for gone, value in zip(dropped, evidence, strict=True):
        assert gone.sum() == min(int(0.1 * len(value)), int(0.9 * (value > 0).sum()))
        assert value[gone].min() >= value[~gone].max() - 1e-6


def test_sgdrop_never_drops_all_positive_evidence():
    net, (images, labels) = model(), batch()
    features = net.features(images).detach()
    mask = SGDrop(net, drop=1.0)._mask(features, labels)
    weight = net.classifier.weight[labels].detach()
    evidence = (weight[:, :, None, None] * features).clamp_min(0)
    kept = (evidence * mask > 0).flatten(1).sum(1) / (evidence > 0).flatten(1).sum(1)
    assert (kept >= 0.1).all()
    assert (kept < 0.11).all()


def test_sgdrop_trains_on_the_remaining_features():
    net, (images, labels) = model(), batch()
    method = SGDrop(net, drop=0.1)
    features = net.features(images)
    expected = F.cross_entropy(net.head(features * method._mask(features, labels)), labels)
    torch.testing.assert_close(method(images, labels)["loss"], expected)


def test_dre_is_finite_for_empty_maps():
    net, (images, labels) = model(), batch()
    with torch.no_grad():
        net.net.get_classifier().weight.zero_()
    out = DRE(net)(images, labels)
    out["loss"].backward()
    assert out["loss"].isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())
