"""Perturbations that are kept from epoch to epoch: storage, crops and checkpoints."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from egat_hub.attacks import memory
from egat_hub.attacks.memory import PerturbationMemory
from egat_hub.data.transforms import TrainingTransform
from egat_hub.methods import PGDAT
from tests.attacks.test_training_contract import EPSILON, INDEX, SIZE, attacked, make
from tests.helpers.training import fit, network, same
from tests.helpers.training import method as training_method

SIDE = 32
WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0]])


def shares(seed: int = 0, count: int = 1) -> torch.Tensor:
    return 2 * torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) - 1


@pytest.mark.parametrize("frames", [None, WHOLE, WHOLE + torch.tensor([0, 0, 0, 0, 1.0])])
def test_stored_perturbations_come_back(frames):
    memory, values = PerturbationMemory(), shares()
    memory.frames = frames
    assert memory.recall((5,), values).isnan().all()
    memory.keep((5,), values)
    torch.testing.assert_close(memory.recall((5,), values), values, atol=0.5 / 127, rtol=0)
    assert memory.recall((4,), values).isnan().all()
    assert memory.levels.dtype == torch.int8


@pytest.mark.parametrize("seed", range(8))
def test_a_canvas_is_cropped_like_its_image(seed):
    """A picture of coordinates goes through the augmentation; the canvas holds the same."""
    ramps = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    picture = torch.stack([*ramps, torch.zeros(SIDE, SIDE)]).to(torch.uint8)
    transform = TrainingTransform(SIDE)
    torch.manual_seed(seed)
    _, moved = transform(Image.new("RGB", (SIDE, SIDE)), tv_tensors.Mask(picture))
    memory = PerturbationMemory()
    memory.keep((0,), picture[None] / 127)
    memory.frames = transform.frame[None]
    found = 127 * memory.recall((0,), shares())[0]
    assert (found - moved).abs().max() <= 1  # nearest pixels, rounded in two ways
    assert (found - moved).abs().mean() < 0.4


def test_a_crop_updates_only_what_it_covers():
    memory, values = PerturbationMemory(), shares()
    memory.keep((0,), torch.full_like(values, -1.0))
    memory.frames = torch.tensor([[0.25, 0.0, 0.5, 0.75, 0.0]])
    memory.keep((0,), torch.ones_like(values))
    memory.frames = None
    whole = memory.recall((0,), values)[0, 0]
    covered = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    covered[SIDE // 4 : SIDE * 3 // 4, : SIDE * 3 // 4] = True
    assert torch.equal(whole, torch.where(covered, 1.0, -1.0))


def test_every_process_stores_the_perturbations_of_all(monkeypatch):
    values = shares(count=2)
    others = {torch.int64: torch.tensor([7]), torch.int8: (127 * values[1:]).round().to(torch.int8)}
    monkeypatch.setattr(memory, "all_gather", lambda mine: torch.cat([mine, others[mine.dtype]]))
    kept = PerturbationMemory()
    kept.keep((2,), values[:1])
    torch.testing.assert_close(kept.recall((2, 7), values), values, atol=0.5 / 127, rtol=0)


def test_the_second_epoch_starts_from_the_first():
    method = make("warm", training_attack_options={"step_size": 0.25})
    clean = torch.empty(6, 3, SIZE, SIZE)
    first = attacked(method, step=2)
    kept = method.memory.recall(tuple(INDEX.tolist()), clean)
    second = attacked(method, step=9)
    moved = (second - first).abs()
    assert moved.max() <= (0.25 + 1 / 127) * EPSILON
    assert moved.mean() > 0.05 * EPSILON
    torch.testing.assert_close(kept.abs().max(), torch.tensor(1.0))
    fresh = attacked(make("warm", training_attack_options={"step_size": 0.25}), step=9)
    assert (second - fresh).abs().mean() > 0.2 * EPSILON


def test_images_of_another_size_raise():
    memory = PerturbationMemory()
    memory.keep((0,), shares())
    with pytest.raises(ValueError, match="size of the stored perturbations"):
        memory.recall((0,), torch.zeros(1, 3, 8, 8))


def test_attacks_without_warm_start_have_no_state():
    assert not any("memory" in key for key in make("pgd").state_dict())


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    """36 images in steps of 12, so that every image comes back before and after the kill."""

    def warm(seed: int = 0) -> PGDAT:
        return training_method("pgd_at", network(seed=seed), training_attack="warm")

    settings = {"batch_size": 12, "validate_every": 9}
    whole = fit(warm(), tmp_path / "whole", steps=9, **settings)
    fit(warm(), tmp_path / "parts", steps=5, **settings)
    parts = fit(warm(9), tmp_path / "parts", steps=9, **settings)
    assert same(whole.model.state_dict(), parts.model.state_dict())
