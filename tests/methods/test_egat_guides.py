"""What EGAT's explanations are guided to."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from egat_hub.core.randomness import SampleRandom
from egat_hub.explanations import GradCAM
from egat_hub.methods import EGAT, Batch
from tests.helpers.methods import FAST, SIZE, batch, forwards, model

ONLY = {"lambda_cls": 0.0, "lambda_adv": 0.0, "lambda_reg": 0.0, "alignment": "l1"}


def masks() -> torch.Tensor:
    """Objects that fill cells of the 3 x 3 saliency grid, one of them half."""
    mask = torch.zeros(6, 1, SIZE, SIZE)
    mask[:, :, 32:64, :32] = 1
    mask[3:, :, :16, 64:] = 1
    return mask


def test_masks_are_used_where_available():
    net, (images, labels) = model(), batch()
    grid = torch.zeros(6, 3, 3)
    grid[:, 1, 0] = 1
    grid[3:, 0, 2] = 0.5
    expected = F.l1_loss(GradCAM()(net, images, labels), grid)
    egl = EGAT(net, guide="mask", **ONLY)(images, labels, mask=masks())["egl"]
    torch.testing.assert_close(egl, expected)


def test_other_guides_ignore_masks():
    method = EGAT(model(), **FAST)
    assert torch.equal(method(*batch(), step=0)["loss"], method(*batch(), step=0, mask=masks())["loss"])


def test_guide_equal_to_the_map_has_zero_loss():
    net, (images, labels) = model(), batch()
    maps = GradCAM()(net, images, labels).detach()
    mask = F.interpolate(maps[:, None], size=(SIZE, SIZE), mode="nearest")
    egl = EGAT(net, guide="mask", **ONLY)(images, labels, mask=mask)["egl"]
    torch.testing.assert_close(egl, torch.tensor(0.0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("level", [0.1, 0.5])
def test_noise_reaches_the_saliency_grid_at_full_strength(level):
    method = EGAT(model(), guide="mask", guide_noise=level)
    half = torch.full((2000, 1, 12, 12), 0.5)
    labels, random = torch.zeros(2000, dtype=torch.long), SampleRandom(0, tuple(range(2000)))
    noise = method._guide(Batch(half, labels, half, random), torch.zeros(2000, 3, 3)) - 0.5
    clipped = torch.randn(18_000, generator=torch.Generator().manual_seed(0)).mul(level).clamp(-0.5, 0.5)
    torch.testing.assert_close(noise.std(), clipped.std(), rtol=0.03, atol=0)
    assert abs(noise.mean()) < 0.02
    assert noise.abs().max() <= 0.5


def test_noise_differs_by_step_and_is_reproducible():
    method = EGAT(model(), guide_noise=0.3, **ONLY)
    first, again, later = (method(*batch(), step=step)["egl"] for step in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)


def test_egat_warms_up_its_attack():
    net, (images, labels) = model(), batch()
    method = EGAT(net, epsilon=0.04, epsilon_warmup=4, views="separate", **FAST)
    for step, share in ((0, 0.25), (2, 0.75), (7, 1.0)):
        with forwards(net) as seen:
            method(images, labels, step=step)
        attacked = seen[FAST["attack_steps"] + 1] * net.std + net.mean
        moved = (attacked - images).abs().max().item()
        assert moved == pytest.approx(0.04 * share, rel=1e-3)
