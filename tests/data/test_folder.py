"""Folders of images open, or raise an error that names the problem."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image

from egat_hub.core.registry import UnknownNameError
from egat_hub.data import DataConfig, open_dataset


def folder(root, **options):
    return DataConfig(name="folder", dir=str(root), **options)


def test_domains_and_classes_are_the_folder_names(make_tree):
    dataset = open_dataset(folder(make_tree(("outdoor", "indoor"), ("dog", "cat"))))
    assert dataset.domains == ("indoor", "outdoor")
    assert dataset.classes == ("cat", "dog")
    domain = dataset["indoor"]
    assert domain.keys[:2] == ("cat/0000.jpg", "cat/0001.jpg")
    assert domain.labels.tolist() == [0] * 5 + [1] * 5
    assert domain.labels.dtype == "int64"
    image, mask = domain.load(0)
    assert (image.mode, image.size, mask) == ("RGB", (24, 20), None)


def test_classes_without_domains_are_one_domain(make_tree):
    root = make_tree(("indoor",), ("cat", "dog"))
    dataset = open_dataset(folder(root / "indoor"))
    assert dataset.domains == ("indoor",)
    assert dataset.classes == ("cat", "dog")


def test_only_requested_domains_are_checked(make_tree):
    root = make_tree(("indoor",), ("cat", "dog"))
    (root / "unfinished" / "cat").mkdir(parents=True)
    assert open_dataset(folder(root), ["Indoor"]).domains == ("indoor",)
    with pytest.raises(UnknownNameError, match="Did you mean 'indoor'"):
        open_dataset(folder(root), ["indor"])


def test_other_files_are_ignored(make_tree):
    root = make_tree(("indoor",), ("cat", "dog"))
    for name in (".DS_Store", "Thumbs.db", "notes.txt", ".hidden.jpg"):
        (root / "indoor" / "cat" / name).write_text("no image")
        (root / name).write_text("no image")
    (root / ".cache").mkdir()
    assert len(open_dataset(folder(root))["indoor"]) == 10


def test_new_files_are_found(make_tree):
    root = make_tree(("indoor",), ("cat", "dog"))
    before = open_dataset(folder(root))["indoor"]
    Image.new("RGB", (8, 8)).save(root / "indoor" / "cat" / "new.PNG")
    after = open_dataset(folder(root))["indoor"]
    assert set(after.keys) - set(before.keys) == {"cat/new.PNG"}


def test_missing_root_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        open_dataset(folder(tmp_path / "nowhere"))


def test_empty_root_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no folders"):
        open_dataset(folder(tmp_path))


def test_empty_class_raises(make_tree):
    root = make_tree(("indoor",), ("cat", "dog"))
    (root / "indoor" / "owl").mkdir()
    with pytest.raises(ValueError, match="owl holds no images"):
        open_dataset(folder(root))


def test_single_class_raises(make_tree):
    with pytest.raises(ValueError, match="fewer than two classes"):
        open_dataset(folder(make_tree(("indoor", "outdoor"), ("cat",))))


def test_different_classes_in_two_domains_raise(make_tree):
    root = make_tree(("indoor", "outdoor"), ("cat", "dog"))
    (root / "indoor" / "dog").rename(root / "indoor" / "owl")
    with pytest.raises(FileNotFoundError, match="indoor has no folder for class 'dog'"):
        open_dataset(folder(root))


def test_too_few_images_raises(make_tree):
    root = make_tree(("indoor",), ("cat", "dog"), count=2)
    with pytest.raises(ValueError, match=r"Class 'cat' of folder/indoor has 2 image"):
        open_dataset(folder(root))


def test_masks_are_loaded_with_images(masked_tree):
    root, masks = masked_tree
    domain = open_dataset(folder(root, masks_dir=str(masks)))["outdoor"]
    assert domain.has_masks
    image, mask = domain.load(3)
    assert mask.mode == "L"
    assert mask.size == image.size
    assert mask.getextrema() == (0, 255)


def test_masks_dir_inside_dir_is_no_domain(masked_tree):
    root, masks = masked_tree
    inside = masks.rename(root / "masks")
    assert open_dataset(folder(root, masks_dir=str(inside))).domains == ("indoor", "outdoor")


def test_a_domain_may_have_no_masks_at_all(masked_tree):
    root, masks = masked_tree
    shutil.rmtree(masks / "indoor")
    dataset = open_dataset(folder(root, masks_dir=str(masks)))
    assert [domain.has_masks for domain in dataset.values()] == [False, True]
    with pytest.raises(FileNotFoundError, match="No image of indoor has a mask in"):
        open_dataset(folder(root, masks_dir=str(masks)), ["indoor"])


def test_images_in_subfolders_of_a_class_and_behind_links(masked_tree):
    root, masks = masked_tree
    for place, suffix in ((root, "jpg"), (masks, "png")):
        (place / "indoor/cat/black").mkdir()
        (place / f"indoor/cat/0000.{suffix}").rename(place / f"indoor/cat/black/0000.{suffix}")
    (root / "outdoor/dog").rename(root.parent / "dogs")
    (root / "outdoor/dog").symlink_to(root.parent / "dogs")
    (root / "outdoor/cat/loop").symlink_to(root / "outdoor/cat")
    dataset = open_dataset(folder(root, masks_dir=str(masks)))
    assert dataset["indoor"].keys[:5] == tuple(
        f"cat/{name}.jpg" for name in ("0001", "0002", "0003", "0004", "black/0000")
    )
    assert len(dataset["indoor"]) == len(dataset["outdoor"]) == 10
    assert len(set(dataset["outdoor"].keys)) == 10


def test_missing_mask_raises(masked_tree):
    root, masks = masked_tree
    (masks / "indoor" / "dog" / "0002.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 10 .*0002\.png"):
        open_dataset(folder(root, masks_dir=str(masks)))


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (Image.new("L", (20, 24), 255), "20 x 24 pixels"),
        (Image.new("L", (24, 20), 1), "0 and 1 where 0 and 255"),
    ],
)
def test_unusable_mask_raises(masked_tree, mask, reason):
    root, masks = masked_tree
    mask.save(masks / "outdoor" / "cat" / "0001.png")
    with pytest.raises(ValueError, match=rf"(?s)outdoor.cat.0001\.png.*{reason}"):
        open_dataset(folder(root, masks_dir=str(masks)))
