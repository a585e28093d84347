"""Distances of maps, and that the logarithms of one of them are safe."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from egat_hub.explanations import NORMALIZATIONS
from egat_hub.methods import EGAT
from egat_hub.methods.losses import MAP_DISTANCES, MARGIN, bce
from tests.helpers.methods import FAST, batch, model


def maps(*, dead: bool = False) -> torch.Tensor:
    """Rectified raw maps in double precision, the second one dead on request."""
    raw = torch.randn(4, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).relu()
    raw[1] *= not dead
    return raw


def gradient(raw: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
    raw = raw.clone().requires_grad_()
    bce(NORMALIZATIONS["minmax"](raw), guide.to(raw)).backward()
    return raw.grad


def test_l1_and_l2_are_means():
    one, other = maps(), maps().flip(0)
    torch.testing.assert_close(MAP_DISTANCES["l1"](one, other), F.l1_loss(one, other))
    torch.testing.assert_close(MAP_DISTANCES["l2"](one, other), F.mse_loss(one, other))


def test_bce_equals_torch_inside_the_interval():
    inside = maps().clamp(MARGIN, 1 - MARGIN)
    guide = torch.rand_like(inside)
    torch.testing.assert_close(bce(inside, guide), F.binary_cross_entropy(inside, guide))


def test_bce_is_finite_at_0_and_1():
    ends = torch.tensor([0.0, 1.0, 0.0, 1.0]).view(4, 1, 1)
    guide = torch.tensor([0.0, 1.0, 1.0, 0.0]).view(4, 1, 1)
    margin = torch.tensor(MARGIN)
    expected = -((1 - margin).log() * 2 + margin.log() * 2) / 4
    torch.testing.assert_close(bce(ends, guide), expected)


@pytest.mark.parametrize("dead", [False, True])
def test_single_and_double_precision_agree_on_the_gradient(dead):
    raw = maps(dead=dead)
    guide = torch.rand(4, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    double, single = gradient(raw, guide), gradient(raw.float(), guide)
    assert double.norm() > 0
    assert (single - double).norm() <= 1e-5 * double.norm()
    assert double[1].any() == (not dead)


@pytest.mark.parametrize("alignment", list(MAP_DISTANCES))
@pytest.mark.parametrize("normalize", ["minmax", "max", "sum"])
def test_dead_maps_have_finite_gradients(alignment, normalize):
    net = model()
    with torch.no_grad():
        for parameter in net.net.layer4[-1].bn2.parameters():
            parameter.zero_()
        net.net.layer4[-1].downsample[-1].weight.zero_()
        net.net.layer4[-1].downsample[-1].bias.fill_(-1)  # so that every feature is cut off at zero
    consistency = "l1" if alignment == "bce" else alignment
    method = EGAT(net, alignment=alignment, consistency=consistency, normalize=normalize, **FAST)
    assert not method.explanation(net, *batch()).any()
    result = method(*batch())
    result["loss"].backward()
    assert result["loss"].isfinite()
    assert all(p.grad.isfinite().all() for p in net.parameters())
