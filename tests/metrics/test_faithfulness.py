"""Comprehensiveness and sufficiency against a loop over images and pixels."""

from __future__ import annotations

import pytest
import torch
from engine.tiny import network
from torch.nn import functional as F

from egat_hub.metrics import FILLS, Faithfulness, top_region

SIZE = (32, 32)


def images_of(count=5):
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def maps_of(count=5, grid=(4, 4)):
    return torch.rand(count, *grid, generator=torch.Generator().manual_seed(1))


def probability(backbone, image, label):
    """Of one image, with the normalisation written down once more."""
    normal = (image - backbone.mean[0]) / backbone.std[0]
    return backbone.net(normal[None]).softmax(1)[0, label].item()


def top_by_sorting(saliency, q):
    """Positions of the pixels of E, by Python's sort on (value, position)."""
    larger = F.interpolate(saliency[None, None], SIZE, mode="bilinear")[0, 0].flatten().tolist()
    order = sorted(range(len(larger)), key=lambda i: (-larger[i], i))
    return set(order[: round(q * len(larger))])


@pytest.mark.parametrize("fill", sorted(FILLS))
@pytest.mark.parametrize("q", [0.05, 0.2, 0.75])
def test_comp_and_suff_equal_a_loop_over_images(fill, q):
    backbone = network().eval()
    images, maps, classes = images_of(), maps_of(), torch.tensor([0, 4, 1, 2, 2])
    whole = torch.tensor([probability(backbone, i, c) for i, c in zip(images, classes, strict=True)])
    comp, suff = Faithfulness(q=q, fill=fill)(backbone, images, maps, classes, whole)
    for n, (image, saliency, label) in enumerate(zip(images, maps, classes, strict=True)):
        shows = FILLS[fill](backbone, image[None])[0].flatten(1)
        without, alone = image.clone().flatten(1), shows.clone()
        for pixel in top_by_sorting(saliency, q):
            without[:, pixel] = shows[:, pixel]
            alone[:, pixel] = image.flatten(1)[:, pixel]
        expected = [whole[n] - probability(backbone, v.view_as(image), label) for v in (without, alone)]
        torch.testing.assert_close(torch.stack([comp[n], suff[n]]), torch.stack(expected), atol=1e-5, rtol=0)
    assert comp.abs().max() > 1e-3
    assert suff.abs().max() > 1e-3


def test_modes_and_gradients_are_left_alone():
    backbone = network(drop_rate=0.5).train()
    modes = [m.training for m in backbone.modules()]
    first, again = (
        Faithfulness()(backbone, images_of(), maps_of(), torch.zeros(5, dtype=torch.long), torch.ones(5))
        for _ in range(2)
    )
    assert [m.training for m in backbone.modules()] == modes
    assert torch.equal(first[0], again[0])
    assert not first[0].requires_grad


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


def test_ties_are_resolved_in_reading_order():
    flat = top_region(torch.zeros(2, 4, 4), 0.25, (4, 8)).flatten(1)
    assert flat[:, :8].all()
    assert not flat[:, 8:].any()
    steps = torch.tensor([[[0.0, 1.0, 0.0, 1.0, 0.0, 0.0]]])
    assert top_region(steps, 0.5, (1, 6)).flatten().tolist() == [True, True, False, True, False, False]


@pytest.mark.parametrize("q", [0, 1, -0.1, 1.5, 20, float("nan")])
def test_q_outside_its_range_is_refused(q):
    with pytest.raises(ValueError, match=rf"q in \(0, 1\), a share of the pixels, got {q}"):
        Faithfulness(q=q)
