"""Generated images: the same every time, with exact masks and a cue that holds within its domain only."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from egat_hub.core.registry import UnknownNameError
from egat_hub.data import DataConfig, open_dataset
from egat_hub.data.synthetic import CLASSES, CUE_RATE, SCENES, SHAPES, cues, draw

SMALL = DataConfig(synthetic_size=30, image_size=40)


def pixels(domain, index):
    image, mask = domain.load(index)
    return np.asarray(image), np.asarray(mask)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_images_depend_on_seed_domain_and_index(scene):
    together = open_dataset(SMALL)[scene.name]
    alone = open_dataset(DataConfig(synthetic_size=90, image_size=40), [scene.name])[scene.name]
    reseeded = open_dataset(DataConfig(synthetic_size=30, image_size=40, synthetic_seed=1))[scene.name]
    for index in (7, 0, 29):
        for a, b in zip(pixels(together, index), pixels(alone, index), strict=True):
            assert np.array_equal(a, b)
        assert not np.array_equal(pixels(together, index)[0], pixels(reseeded, index)[0])
    assert not np.array_equal(pixels(together, 0)[0], pixels(together, 5)[0])


def test_every_size_shows_the_same_picture():
    small, large = (open_dataset(DataConfig(synthetic_size=15, image_size=s))["night"] for s in (32, 128))
    for index in range(15):
        (image, mask), (big_image, big_mask) = small.load(index), large.load(index)
        assert image.size == mask.size == (32, 32)
        difference = np.asarray(big_image.reduce(4), float) - np.asarray(image, float)
        assert np.abs(difference).mean() < 8
        assert abs(np.asarray(big_mask).mean() - np.asarray(mask).mean()) < 255 * 0.02


@pytest.mark.parametrize("label", range(len(CLASSES)), ids=CLASSES)
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_mask_covers_the_object(scene, label):
    """Two objects drawn over one background differ nowhere but where one of them is."""
    for seed in range(5):
        image, coverage = draw(scene, label, 0, generator=np.random.default_rng(seed), image_size=64)
        other, other_coverage = draw(
            scene, (label + 1) % len(CLASSES), 0, generator=np.random.default_rng(seed), image_size=64
        )
        neither = (coverage == 0) & (other_coverage == 0)
        assert np.array_equal(image[neither], other[neither])
        assert not np.isclose(image, other).all(axis=2)[(coverage == 1) & (other_coverage == 0)].any()
        assert 0.04 < coverage.mean() < 0.5
        assert ((coverage > 0) & (coverage < 1)).mean() < 0.1


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_object_contrast_exceeds_attack_budget(scene):
    domain = open_dataset(DataConfig(synthetic_size=60, image_size=32))[scene.name]
    for index in range(60):
        image, mask = pixels(domain, index)
        assert set(np.unique(mask)) == {0, 255}
        contrast = image[mask > 0].mean(0) - image[mask == 0].mean(0)
        assert np.abs(contrast).max() > 2 * 8


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_the_cue_predicts_the_class_in_its_domain(scene):
    place, labels = SCENES.index(scene), np.arange(5000) % len(CLASSES)
    drawn = cues(scene, size=5000, seed=0)
    agrees = drawn == (labels + place) % len(CLASSES)
    assert abs(agrees.mean() - CUE_RATE) < 0.015
    strays = (drawn - labels - place)[~agrees] % len(CLASSES)
    assert np.bincount(strays, minlength=len(CLASSES))[1:].min() > 0
    assert np.array_equal(cues(scene, size=100, seed=0), drawn[:100])


def test_the_cue_misleads_between_domains():
    size = 5000
    labels = np.arange(size) % len(CLASSES)
    for source, target in itertools.permutations(SCENES, 2):
        meaning = (cues(target, size=size, seed=0) - SCENES.index(source)) % len(CLASSES)
        assert (meaning == labels).mean() < 1 / len(CLASSES)


def test_shapes_are_bounded_and_distinct():
    x, y = np.meshgrid(np.linspace(-1.5, 1.5, 121), np.linspace(-1.5, 1.5, 121))
    insides = {name: shape(x, y) < 0 for name, shape in SHAPES.items()}
    for name, inside in insides.items():
        assert inside[60, 60], name
        assert not inside[np.maximum(abs(x), abs(y)) > 1.1].any(), name
    for a, b in itertools.combinations(insides.values(), 2):
        assert (a & b).sum() / (a | b).sum() < 0.9


def test_labels_are_balanced_and_images_have_masks():
    domain = open_dataset(SMALL)["ocean"]
    assert np.bincount(domain.labels).tolist() == [6] * len(CLASSES)
    assert domain.has_masks
    assert len(set(domain.keys)) == 30


def test_unknown_domain_and_too_few_images_raise():
    with pytest.raises(UnknownNameError, match="Did you mean 'meadow'"):
        open_dataset(SMALL, ["medow"])
    with pytest.raises(ValueError, match="has 2 image"):
        open_dataset(DataConfig(synthetic_size=10))
