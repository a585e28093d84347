"""Draws belong to (seed, step, sample, purpose), whatever the batch around them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from egat_hub.core.randomness import SampleRandom, derive_seed

INDICES = st.lists(st.integers(0, 2**40), unique=True, min_size=1, max_size=6)
DRAWS = {
    "uniform": lambda random, purpose="noise": random.uniform(torch.zeros(len(random), 2, 3), 0, 1, purpose),
    "normal": lambda random, purpose="noise": random.normal(torch.zeros(len(random), 2, 3), purpose),
    "poisson": lambda random, purpose="noise": random.poisson(torch.full((len(random), 2, 3), 1e6), purpose),
    "beta": lambda random, purpose="noise": random.beta(0.7, purpose),
}

FILLS = (
    lambda random, like: random.uniform(like, -1, 1, "noise"),
    lambda random, like: random.normal(like, "noise"),
)


@pytest.fixture(params=DRAWS)
def draw(request):
    return DRAWS[request.param]


@settings(max_examples=25, deadline=None)
@given(index=INDICES, kind=st.sampled_from(sorted(DRAWS)), data=st.data())
def test_a_sample_gets_its_numbers_in_any_batch(index, kind, data):
    draw = DRAWS[kind]
    whole = draw(SampleRandom(3, tuple(index), step=5))
    order = data.draw(st.permutations(range(len(index))))
    part = order[: data.draw(st.integers(1, len(index)))]
    again = draw(SampleRandom(3, tuple(index[p] for p in part), step=5))
    assert torch.equal(again, whole[torch.tensor(part)])


def test_draws_depend_on_seed_step_index_and_purpose(draw):
    base = SampleRandom(0, (1, 2, 3), step=4)
    others = [
        draw(SampleRandom(1, (1, 2, 3), step=4)),
        draw(SampleRandom(0, (1, 2, 3), step=5)),
        draw(SampleRandom(0, (4, 5, 6), step=4)),
        draw(base, purpose="other"),
    ]
    assert torch.equal(draw(base), draw(base))
    for other in others:
        assert not torch.isclose(draw(base), other).any()


def test_samples_of_a_batch_differ(draw):
    numbers = draw(SampleRandom(0, tuple(range(8)))).flatten(1 if draw is not DRAWS["beta"] else 0)
    assert len(numbers.unique(dim=0)) == 8


def test_select_keeps_the_draws_of_the_chosen(draw):
    random = SampleRandom(7, (10, 20, 30, 40), step=2)
    keep = torch.tensor([True, False, False, True])
    chosen = random.select(keep)
    assert chosen == SampleRandom(7, (10, 40), step=2)
    assert len(chosen) == 2
    assert torch.equal(draw(chosen), draw(random)[keep])


def test_select_refuses_a_mask_of_another_length():
    with pytest.raises(ValueError, match="zip"):
        SampleRandom(0, (1, 2, 3)).select(torch.tensor([True, False]))


@pytest.mark.parametrize("fill", FILLS)
def test_batch_of_another_length_raises(fill):
    with pytest.raises(ValueError, match="zip"):
        fill(SampleRandom(0, (1, 2, 3)), torch.zeros(2, 4))


@pytest.mark.parametrize("fill", FILLS)
def test_memory_format_changes_nothing(fill):
    random, like = SampleRandom(0, (3, 4)), torch.zeros(2, 3, 8, 8)
    assert torch.equal(fill(random, like.to(memory_format=torch.channels_last)), fill(random, like))
    assert torch.equal(fill(random, like[:1].expand(2, -1, -1, -1)), fill(random, like))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("fill", FILLS)
def test_numbers_have_the_type_asked_for(fill, dtype):
    assert fill(SampleRandom(0, (0, 1)), torch.zeros(2, 5, dtype=dtype)).dtype == dtype


def test_the_distributions_are_those_named():
    random = SampleRandom(0, tuple(range(200)))
    like = torch.zeros(200, 100)
    uniform, normal = random.uniform(like, -3, 1, "u"), random.normal(like, "n")
    assert uniform.min() >= -3
    assert uniform.max() <= 1
    assert uniform.mean().item() == pytest.approx(-1, abs=0.05)
    assert uniform.std().item() == pytest.approx(4 / 12**0.5, abs=0.05)
    assert normal.mean().item() == pytest.approx(0, abs=0.05)
    assert normal.std().item() == pytest.approx(1, abs=0.05)


def test_counts_have_the_mean_and_variance_of_their_rates():
    rates = torch.tensor([0.0, 0.5, 40.0]).expand(200, 500, 3)
    counts = SampleRandom(0, tuple(range(200))).poisson(rates, "p").flatten(0, 1)
    assert counts.dtype == rates.dtype
    assert torch.equal(counts, counts.round())
    torch.testing.assert_close(counts.mean(0), rates[0, 0], rtol=0.02, atol=0)
    torch.testing.assert_close(counts.var(0), rates[0, 0], rtol=0.03, atol=0)


@settings(max_examples=20, deadline=None)
@given(alpha=st.floats(0.05, 20), index=INDICES)
def test_beta_lies_between_0_and_1(alpha, index):
    share = SampleRandom(0, tuple(index)).beta(alpha, "mixup")
    assert share.shape == (len(index),)
    assert share.dtype == torch.float32
    assert ((share >= 0) & (share <= 1)).all()


def test_beta_has_its_mean_and_variance():
    share = SampleRandom(0, tuple(range(2000))).beta(0.2, "mixup")
    assert share.mean().item() == pytest.approx(0.5, abs=0.04)
    assert share.var().item() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), abs=0.02)


def test_the_global_generator_is_left_alone(draw):
    before = torch.get_rng_state()
    draw(SampleRandom(0, (1, 2)))
    assert torch.equal(torch.get_rng_state(), before)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**40) | st.text(max_size=5), min_size=1, max_size=4))
def test_seeds_fit_a_generator(parts):
    seed = derive_seed(*parts)
    assert 0 <= seed < 2**63
    assert seed == derive_seed(*parts)
    torch.Generator().manual_seed(seed)


def test_a_seed_never_changes():
    assert derive_seed(0, 1, "attack", 2) == 1294161346492379565


def test_order_of_parts_matters():
    seeds = {derive_seed(*parts) for parts in [(1, 2, "a"), (2, 1, "a"), ("a", 1, 2), (1, 2, "b"), (1, 2, 0)]}
    assert len(seeds) == 5
