"""Comprehensiveness and sufficiency against a loop over images and pixels."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.explanations.similarity import pixel_ranks, top_region
from egat_hub.metrics import CONTROLS, FILLS, Faithfulness, faithfulness
from tests.helpers.training import network

SIZE = (32, 32)
RANDOM = SampleRandom(0, tuple(range(5)))


def images_of(count=5):
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def maps_of(count=5, grid=(4, 4)):
    return torch.rand(count, *grid, generator=torch.Generator().manual_seed(1))


def probability(model, image, label):
    """Of one image, with the normalisation written down once more."""
    normal = (image - model.mean[0]) / model.std[0]
    return model.net(normal[None]).softmax(1)[0, label].item()


def top_by_sorting(saliency, q):
    """Positions of the pixels of E, by Python's sort on (value, position)."""
    larger = F.interpolate(saliency[None, None], SIZE, mode="bilinear")[0, 0].flatten().tolist()
    order = sorted(range(len(larger)), key=lambda i: (-larger[i], i))
    return set(order[: round(q * len(larger))])


def looped(model, image, saliency, label, whole, q, fill, index):
    """comprehensiveness and sufficiency of one image at one share, pixel by pixel, ranked anew."""
    shows = FILLS[fill](model, image[None], SampleRandom(3, (index,)))[0].flatten(1)
    without, alone = image.clone().flatten(1), shows.clone()
    for pixel in top_by_sorting(saliency, q):
        without[:, pixel] = shows[:, pixel]
        alone[:, pixel] = image.flatten(1)[:, pixel]
    return [whole - probability(model, v.view_as(image), label) for v in (without, alone)]


@pytest.mark.parametrize("shown", ["model", *CONTROLS])
def test_comp_and_suff_equal_a_loop_over_images_and_shares(shown):
    model = network().eval()
    images, classes = images_of(), torch.tensor([0, 4, 1, 2, 2])
    random = SampleRandom(3, (7, 2, 9, 0, 4))
    maps = maps_of() if shown == "model" else CONTROLS[shown](maps_of(), random)
    whole = torch.tensor([probability(model, i, c) for i, c in zip(images, classes, strict=True)])
    faithful = Faithfulness(q=0.75, fill="blur", shares=(0.05,), fills=tuple(FILLS))
    removals = faithful(model, images, maps, classes, whole, random)
    for q, fill, comp, suff in removals:
        for n, index in enumerate(random.index):
            expected = looped(model, images[n], maps[n], classes[n], whole[n], q, fill, index)
            found = torch.stack([comp[n], suff[n]])
            torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=0)
        assert comp.abs().max() > 1e-3
        assert suff.abs().max() > 1e-3
    settings = [(q, fill) for q, fill, _, _ in removals]
    assert settings[0] == (0.75, "blur")
    assert set(settings) == set(itertools.product((0.75, 0.05), FILLS))
    assert len(settings) == 8


def test_each_setting_needs_two_forwards(monkeypatch):
    model, forwards, sorts = network().eval(), [], []
    model.register_forward_pre_hook(lambda module, inputs: forwards.append(len(inputs[0])))
    monkeypatch.setattr(faithfulness, "pixel_ranks", lambda *args: sorts.append(1) or pixel_ranks(*args))
    faithful = Faithfulness(shares=(0.05, 0.2, 0.5), fills=("mean", "black"))
    faithful(model, images_of(), maps_of(), torch.zeros(5, dtype=torch.long), torch.ones(5), RANDOM)
    assert forwards == [5] * 2 * 6
    assert sorts == [1]


@pytest.mark.parametrize("value", [0.0, 1.0, -2.0])
def test_constant_map_has_finite_results(value):
    flat = torch.full((5, 4, 4), value)
    found = Faithfulness()(
        network(), images_of(), flat, torch.zeros(5, dtype=torch.long), torch.ones(5), RANDOM
    )
    assert all(values.isfinite().all() for values in found[0][2:])


def test_modes_and_gradients_are_unchanged():
    model = network(drop_rate=0.5).train()
    modes = [m.training for m in model.modules()]
    (first,), (again,) = (
        Faithfulness()(model, images_of(), maps_of(), torch.zeros(5, dtype=torch.long), torch.ones(5), RANDOM)
        for _ in range(2)
    )
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(first.comp, again.comp)
    assert not first.comp.requires_grad


@pytest.mark.parametrize("q", [0.01, 0.2, 0.333, 0.5, 0.999])
@pytest.mark.parametrize("size", [(32, 32), (7, 13)])
def test_the_region_has_exactly_its_share_of_pixels(q, size):
    region = top_region(maps_of(), q, size)
    assert region.shape == (5, *size)
    assert region.flatten(1).sum(1).tolist() == [round(q * size[0] * size[1])] * 5


def test_the_region_holds_the_highest_pixels():
    maps = maps_of(grid=(6, 7))
    region = top_region(maps, 0.3, (6, 7))
    for chosen, saliency in zip(region, maps, strict=True):
        assert saliency[chosen].min() > saliency[~chosen].max()


def test_ranks_count_every_pixel_once_from_the_most_salient():
    ranks = pixel_ranks(maps_of(grid=(6, 7)), (6, 7)).flatten(1)
    for places, saliency in zip(ranks, maps_of(grid=(6, 7)).flatten(1), strict=True):
        assert sorted(places.tolist()) == list(range(42))
        assert (saliency[places.argsort()].diff() <= 0).all()


def test_ties_are_resolved_in_reading_order():
    flat = top_region(torch.zeros(2, 4, 4), 0.25, (4, 8)).flatten(1)
    assert flat[:, :8].all()
    assert not flat[:, 8:].any()
    steps = torch.tensor([[[0.0, 1.0, 0.0, 1.0, 0.0, 0.0]]])
    assert top_region(steps, 0.5, (1, 6)).flatten().tolist() == [True, True, False, True, False, False]


@pytest.mark.parametrize("q", [0, 1, -0.1, 1.5, 20, float("nan")])
def test_share_out_of_range_raises(q):
    with pytest.raises(ValueError, match=rf"q in \(0, 1\), a share of the pixels, got {q}"):
        Faithfulness(q=q)
    with pytest.raises(ValueError, match=rf"q in \(0, 1\), a share of the pixels, got {q}"):
        Faithfulness(shares=(0.1, q))


def test_repeated_share_counts_once_in_the_mean():
    with pytest.raises(ValueError, match="each share once"):
        Faithfulness(shares=(0.1, 0.1))
