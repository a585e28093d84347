"""Where features are taken, in networks made to mislead the search."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from egat_hub.models import TimmModel
from egat_hub.models.probe import NoTapError, find_tap
from egat_hub.models.taps import Layout, Shape, probe_copy

WIDTH, SIDE = 8, 4


class Tokens(nn.Module):
    """Images to tokens, with BatchNorm on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, WIDTH, 8, 8), nn.BatchNorm2d(WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images)).flatten(2).transpose(1, 2)


class Table(nn.Module):
    """A bias for every token, which no image changes."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.randn(SIDE**2, WIDTH))

    def forward(self) -> Tensor:
        return self.value


class Mix(nn.Module):
    """Tokens among themselves, and the size of the map along with them."""

    def __init__(self) -> None:
        super().__init__()
        self.across = nn.Linear(SIDE**2, SIDE**2)

    def forward(self, tokens: Tensor, size: tuple[int, int], bias: Tensor) -> tuple[Tensor, tuple[int, int]]:
        return tokens + self.across((tokens + bias).mT).mT.tanh(), size


class Net(nn.Module):
    """A class token that attends to patches; ``kind`` says what is peculiar."""

    num_classes, num_features, drop_rate = 5, WIDTH, 0.0

    def __init__(self, kind: str = "plain") -> None:
        super().__init__()
        self.kind = kind
        self.pretrained_cfg: dict[str, Any] = {"input_size": (3, 8 * SIDE, 8 * SIDE)}
        self.embed, self.table, self.mix, self.last = Tokens(), Table(), Mix(), nn.Linear(WIDTH, WIDTH)
        self.skip = nn.Linear(3, WIDTH)
        self.head = nn.Linear(WIDTH, self.num_classes)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward_features(self, images: Tensor) -> Tensor:
        tokens, bias = self.embed(images), self.table()
        size = (SIDE, SIDE)
        for _ in range(2):
            tokens, size = self.mix(tokens, size, bias)
        if self.kind == "maximum":
            return tokens.amax(1)
        pooled = (tokens * self.last(tokens + bias).softmax(1)).sum(1)
        return pooled + self.skip(images.mean((2, 3))) if self.kind == "bypass" else pooled

    def forward_head(self, pooled: Tensor) -> Tensor:
        return self.head(pooled)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))


def images(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 8 * SIDE, 8 * SIDE, generator=torch.Generator().manual_seed(0))


def make(kind: str = "plain") -> Net:
    torch.manual_seed(0)
    return Net(kind).eval()


def test_the_last_call_of_a_module_that_runs_twice_is_tapped():
    tap = find_tap(probe_copy(make()), images())
    assert (tap.module, tap.number) == ("mix", 1)
    assert tap.layout == Layout("NLC", SIDE)


def test_modules_independent_of_images_run_before_and_after_the_tap():
    net = make()
    model = TimmModel(net)
    torch.testing.assert_close(model(images()), net((images() - model.mean) / model.std))
    model.head(model.features(images()).detach()).sum().backward()
    assert net.table.value.grad is not None
    assert net.embed.conv.weight.grad is None


def test_batchnorm_before_the_tap_records_a_batch_once():
    net = make()
    model = TimmModel(net).train()
    view = model.view(images())
    model.head(view.features)
    assert net.embed.norm.num_batches_tracked == 1


def test_path_around_every_map_is_detected():
    with pytest.raises(NoTapError, match="no module inside gives a map"):
        find_tap(probe_copy(make("bypass")), images())
    model = TimmModel(make("bypass"))
    assert model.head_form == "independent"
    assert re.search(r"shape \(2, 8\): no spatial map.*no module inside gives a map", model.obstacle)


def test_path_with_zero_weight_is_detected():
    net = make("bypass")
    nn.init.zeros_(net.skip.weight)
    with pytest.raises(NoTapError):
        find_tap(probe_copy(net), images())


def test_a_maximum_over_positions_is_not_tapped():
    """Few positions decide after the last block, more of them before it."""
    tap = find_tap(probe_copy(make("maximum")), images())
    assert (tap.module, tap.number) == ("mix", 0)


def test_a_module_whose_forward_was_replaced_runs_as_it_is():
    net = make()
    run = net.embed.forward
    net.embed.forward = lambda x: 2 * run(x)
    model = TimmModel(net)
    torch.testing.assert_close(model(images()), net((images() - model.mean) / model.std))
    assert net.embed.forward(images()).allclose(2 * run(images()))


@pytest.mark.parametrize(
    ("shape", "prefix", "layout"),
    [
        ((2, 8, 4, 4), 0, Layout("NCHW", 4)),
        ((2, 4, 4, 8), 0, Layout("NHWC", 4)),
        ((2, 17, 8), 0, Layout("NLC", 4, 1)),
        ((2, 25, 8), 9, Layout("NLC", 4, 9)),
        ((2, 16, 8), 0, Layout("NLC", 4)),
        ((2, 8, 1, 1), 0, None),
        ((2, 1, 8), 0, None),
        ((2, 34, 8), 0, None),
        ((2, 16), 0, None),
    ],
)
def test_layouts(shape, prefix, layout):
    tensor = torch.rand(shape)
    assert Layout.of(tensor, prefix) == layout
    if layout is not None:
        assert layout.grid(tensor).shape == (2, 8, 4, 4)


def test_shapes_that_do_not_follow_the_batch_raise():
    assert Shape.of(torch.rand(4, 5), torch.rand(6, 5), (2, 3)).at(7) == (14, 5)
    with pytest.raises(ValueError, match=r"\(4, 5\) and \(5, 5\)"):
        Shape.of(torch.rand(4, 5), torch.rand(5, 5), (2, 3))
