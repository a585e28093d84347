"""Areas under insertion and deletion curves against a loop over images and steps."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.metrics import FILLS, InsertionDeletion
from tests.helpers.training import network

RANDOM = SampleRandom(3, (7, 2, 9))
CLASSES = torch.tensor([0, 4, 1])


def images_of(side=16):
    return torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(0))


def maps_of(grid=(4, 4)):
    return torch.rand(3, *grid, generator=torch.Generator().manual_seed(1)) - 0.3


def looped(model, start, end, saliency, label, steps):
    """The area under one curve, pixel by pixel."""
    larger = F.interpolate(saliency[None, None], start.shape[1:], mode="bilinear")[0, 0].flatten().tolist()
    order = sorted(range(len(larger)), key=lambda i: (-larger[i], i))
    heights = []
    for step in range(steps + 1):
        image = start.clone().flatten(1)
        for pixel in order[: round(step / steps * len(order))]:
            image[:, pixel] = end.flatten(1)[:, pixel]
        heights.append(model(image.view(1, *start.shape)).softmax(1)[0, label].item())
    return sum((a + b) / 2 for a, b in pairwise(heights)) / steps


@pytest.mark.parametrize(("steps", "fills"), [(1, ("blur", "mean")), (7, ("noise", "black"))])
def test_areas_equal_a_loop_over_images_and_steps(steps, fills):
    model, images, maps = network().eval(), images_of(), maps_of()
    curves = InsertionDeletion(steps=steps, insertion_fill=fills[0], deletion_fill=fills[1])
    areas = curves(model, images, maps, CLASSES, RANDOM)
    blank, emptied = (FILLS[fill](model, images, RANDOM) for fill in fills)
    expected = [
        [
            looped(model, blank[n], images[n], maps[n], CLASSES[n], steps),
            looped(model, images[n], emptied[n], maps[n], CLASSES[n], steps),
        ]
        for n in range(3)
    ]
    torch.testing.assert_close(torch.stack(areas, 1), torch.tensor(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_chunk_size_bounds_memory_and_does_not_change_results(chunk):
    model, seen = network().eval(), []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    curves = InsertionDeletion(steps=5)
    found = curves(model, images_of(), maps_of(), CLASSES, RANDOM, chunk=chunk)
    assert max(seen) <= chunk
    assert sum(seen) == 2 * 6 * 3
    usual = curves(model, images_of(), maps_of(), CLASSES, RANDOM)
    torch.testing.assert_close(found, usual, atol=1e-5, rtol=0)


def test_correct_map_has_high_insertion_and_low_deletion():
    """One pixel decides: the area is all or nothing of what it is worth, up to the first step."""

    class Pixel(torch.nn.Module):
        mean = torch.zeros(1, 3, 1, 1)

        def forward(self, images):
            score = 20 * (images[:, 0, 2, 3] - 0.5)
            return torch.stack([score, -score], dim=1)

    image = torch.ones(1, 3, 8, 8)
    maps = torch.zeros(2, 8, 8)
    maps[0, 2, 3], maps[1, 2, 3] = 1, -1
    curves = InsertionDeletion(steps=64, insertion_fill="black", deletion_fill="black")
    for saliency, insertion in zip(maps, (1 - 0.5 / 64, 0.5 / 64), strict=True):
        areas = curves(Pixel(), image, saliency[None], torch.tensor([0]), SampleRandom(0, (0,)))
        assert areas.insertion.item() == pytest.approx(insertion, abs=1e-4)
        assert areas.deletion.item() == pytest.approx(1 - insertion, abs=1e-4)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_constant_maps_have_finite_areas(value):
    model = network(drop_rate=0.5).train()
    modes = [m.training for m in model.modules()]
    flat = torch.full((3, 4, 4), value)
    areas = InsertionDeletion(steps=3)(model, images_of(), flat, CLASSES, RANDOM)
    assert torch.stack(areas).isfinite().all()
    assert [m.training for m in model.modules()] == modes


def test_invalid_arguments_raise():
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        InsertionDeletion(steps=0)
    with pytest.raises(ValueError, match="Expected target among"):
        InsertionDeletion(target="first")  # type: ignore[arg-type]
