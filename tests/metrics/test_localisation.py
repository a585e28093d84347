"""Pointing game, energy inside and IoU against loops over pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from egat_hub.metrics import Localisation

SIZE = (18, 23)


def objects_of(count=6):
    """Rectangles of any place and size."""
    objects = torch.zeros(count, *SIZE, dtype=torch.bool)
    for n in range(count):
        objects[n, n : n + 5, 2 * n : 3 * n + 4] = True
    return objects


def maps_of(count=6, grid=(4, 5)):
    return torch.rand(count, *grid, generator=torch.Generator().manual_seed(1)) - 0.4


def looped(saliency, found, tolerance, threshold):
    """Of one map, with its object as a set of places."""
    larger = F.interpolate(saliency.relu()[None, None], SIZE, mode="bilinear")[0, 0].tolist()
    places = [(y, x) for y in range(SIZE[0]) for x in range(SIZE[1])]
    value = {(y, x): larger[y][x] for y, x in places}
    inside = {place for place in places if found[place]}
    peak = max(places, key=lambda place: value[place])  # the first of equals
    hit = any(math.dist(peak, place) <= tolerance for place in inside)
    region = {place for place in places if value[place] >= threshold * value[peak]}
    energy = sum(value[place] for place in inside) / sum(value.values())
    return [float(hit), energy, len(region & inside) / len(region | inside)]


@pytest.mark.parametrize(("tolerance", "threshold"), [(0, 0.2), (3, 0.5), (15, 1.0)])
def test_metrics_equal_a_loop_over_pixels(tolerance, threshold):
    located = Localisation(tolerance=tolerance, threshold=threshold)(maps_of(), objects_of())
    expected = [
        looped(saliency, found, tolerance, threshold)
        for saliency, found in zip(maps_of(), objects_of(), strict=True)
    ]
    torch.testing.assert_close(torch.stack(located, 1), torch.tensor(expected), atol=1e-5, rtol=0)


def test_pointing_game_tolerance_is_in_pixels():
    maps, objects = torch.zeros(1, 20, 20), torch.zeros(1, 20, 20, dtype=torch.bool)
    maps[0, 3, 4], objects[0, 6, 8] = 1, True  # 5 pixels apart
    hits = [Localisation(tolerance=t)(maps, objects).pointing.item() for t in (0, 4, 5, 15)]
    assert hits == [0, 0, 1, 1]


def test_mask_as_map_has_perfect_scores():
    located = Localisation(tolerance=0)(objects_of().float(), objects_of())
    assert torch.stack(located).eq(1).all()


@pytest.mark.parametrize("value", [0.0, -1.0, 1.0])
def test_constant_maps_and_empty_masks_give_no_nan(value):
    flat, nothing = torch.full((6, 4, 5), value), torch.zeros(6, *SIZE, dtype=torch.bool)
    for objects in (objects_of(), nothing, ~nothing):
        located = Localisation()(flat, objects)
        assert torch.stack(located).isfinite().all()
        if value <= 0 or objects is nothing:
            assert not torch.stack(located).any()
    area = objects_of().float().mean((1, 2))
    if value == 1:
        torch.testing.assert_close(Localisation()(flat, objects_of()).energy, area)
        torch.testing.assert_close(Localisation()(flat, objects_of()).iou, area)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tolerance": -1}, "at least 0 pixels, got -1"),
        ({"threshold": 0.0}, r"in \(0, 1\], a share of the map's maximum, got 0.0"),
        ({"threshold": float("nan")}, "got nan"),
        ({"target": "first"}, "Expected target among"),
    ],
)
def test_invalid_arguments_raise(settings, message):
    with pytest.raises(ValueError, match=message):
        Localisation(**settings)


def test_masks_of_other_images_raise():
    with pytest.raises(ValueError, match=r"Expected objects \[6,H,W\], one for each map, got \(3, 18, 23\)"):
        Localisation()(maps_of(), objects_of(3))
