"""Pairs and shares of mixup."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from egat_hub.core.randomness import SampleRandom
from egat_hub.methods import Batch
from egat_hub.methods.losses import Mixup

label_lists = st.lists(st.integers(0, 3), min_size=1, max_size=12)


def draw(labels, *, step=0, seed=0, index=None, alpha=0.2, same_class=True) -> Mixup:
    labels = torch.tensor(labels)
    index = tuple(range(len(labels))) if index is None else tuple(index)
    images = torch.zeros(len(labels), 3, 2, 2)
    batch = Batch(images, labels, None, SampleRandom(seed, index, step))
    return Mixup.draw(batch, alpha=alpha, same_class=same_class)


@given(label_lists, st.integers(0, 1000))
def test_partners_are_a_permutation_within_the_class(labels, step):
    partner = draw(labels, step=step).partner.tolist()
    assert sorted(partner) == list(range(len(labels)))
    assert [labels[p] for p in partner] == labels


@given(label_lists, st.integers(0, 1000))
def test_partners_of_any_class_are_a_permutation(labels, step):
    assert sorted(draw(labels, step=step, same_class=False).partner.tolist()) == list(range(len(labels)))


def test_partners_of_any_class_do_cross_classes():
    partners = torch.stack([draw([0, 1, 2, 3], step=s, same_class=False).partner for s in range(50)])
    assert all(set(column.tolist()) == {0, 1, 2, 3} for column in partners.T)


def test_single_sample_of_a_class_mixes_with_itself():
    mixup = draw([0, 1, 0, 0, 2])
    assert mixup.partner[1] == 1
    assert mixup.partner[4] == 4
    values = torch.rand(5, 3, 2, 2)
    torch.testing.assert_close(mixup(values)[[1, 4]], values[[1, 4]])


def test_every_partner_of_the_class_is_drawn():
    partners = [draw([0, 1, 0, 0, 1], step=step).partner[0].item() for step in range(60)]
    assert set(partners) == {0, 2, 3}


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0])
def test_mixing_coefficients_are_beta_distributed(alpha):
    share = draw([0] * 3000, alpha=alpha).share
    assert share.dtype == torch.float32
    assert share.min() >= 0
    assert share.max() <= 1
    assert abs(share.mean() - 0.5) < 0.03
    assert abs(share.var() - 1 / (4 * (2 * alpha + 1))) < 0.01


def test_mixing_coefficients_do_not_depend_on_the_batch():
    whole = draw([0, 1, 0, 1], index=[5, 6, 7, 8])
    part = draw([1, 0], index=[8, 5])
    assert torch.equal(part.share, whole.share[[3, 0]])


def test_partners_depend_on_their_class_only():
    alone = draw([0, 0, 0], index=[5, 7, 8]).partner
    among = draw([0, 1, 0, 2, 0], index=[5, 6, 7, 9, 8]).partner
    place = torch.tensor([0, 2, 4])
    assert torch.equal(place[alone], among[place])


def test_draws_depend_on_step_and_seed():
    first, step, seed = draw([0] * 9), draw([0] * 9, step=1), draw([0] * 9, seed=1)
    for other in (step, seed):
        assert not torch.equal(first.share, other.share)
        assert not torch.equal(first.partner, other.partner)


@pytest.mark.parametrize("shape", [(4,), (4, 5), (4, 3, 2, 2)])
def test_values_of_any_shape_are_mixed_and_differentiable(shape):
    mixup = Mixup(torch.tensor([2, 1, 0, 3]), torch.tensor([0.25, 0.5, 1.0, 0.0]))
    values = torch.rand(shape, requires_grad=True)
    mixed = mixup(values)
    torch.testing.assert_close(mixed[0], 0.25 * values[0] + 0.75 * values[2])
    torch.testing.assert_close(mixed[1:], values[1:])
    mixed.sum().backward()
    weight = torch.tensor([0.25, 1.0, 1.75, 1.0]).view(-1, *[1] * (len(shape) - 1))
    torch.testing.assert_close(values.grad, weight.expand(shape))
