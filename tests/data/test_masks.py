"""Masks of a folder of images, as PNG masks or as VOC and COCO boxes."""

from __future__ import annotations

import json
import pickle
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from egat_hub.data import DataConfig, TrainingView, UnreadableImageError, open_dataset

WHITE = (4, 6, 15, 14)
"""Left, top, right and bottom of the object, which is white, in each image of 24 x 20 pixels."""


@pytest.fixture
def tree(make_tree):
    """Two domains of two classes; each image shows a white object on black."""
    root = make_tree(("indoor", "outdoor"), ("cat", "dog"), count=3)
    for image in root.glob("*/*/*.jpg"):
        pixels = np.zeros((20, 24, 3), np.uint8)
        pixels[WHITE[1] : WHITE[3], WHITE[0] : WHITE[2]] = 255
        Image.fromarray(pixels).save(image, quality=100)
    return root


def voc(boxes, size="<size><width>24</width><height>20</height></size>"):
    """XML of boxes (category, left, top, right, bottom), pixels from 0; VOC counts from 1, ends included."""
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax>"
        f"<ymax>{y1}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1 in boxes
    )
    return f"<annotation><filename>x.jpg</filename>{size}{objects}</annotation>"


def coco(boxes):
    """JSON of {file_name: boxes as for VOC}."""
    names = sorted({box[0] for found in boxes.values() for box in found})
    images = [{"id": 7 + i, "file_name": name, "width": 24, "height": 20} for i, name in enumerate(boxes)]
    annotations = [
        {"id": i, "image_id": image["id"], "category_id": names.index(name), "bbox": [x, y, x1 - x, y1 - y]}
        for image in images
        for i, (name, x, y, x1, y1) in enumerate(boxes[image["file_name"]])
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(names)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_voc(masks, tree, boxes):
    for image in tree.glob("*/*/*.jpg"):
        path = masks / image.relative_to(tree).with_suffix(".xml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(voc(boxes))
    return masks


def write_coco(masks, tree, boxes):
    names = sorted(image.relative_to(tree).as_posix() for image in tree.glob("*/*/*.jpg"))
    masks.write_text(json.dumps(coco(dict.fromkeys(names, boxes))))
    return masks


FORMS = {"voc": write_voc, "coco": write_coco}


@pytest.fixture(params=FORMS)
def annotate(request, tmp_path, tree):
    """Writes the same boxes for every image, in one of the forms."""
    return lambda boxes: FORMS[request.param](tmp_path / "annotations", tree, boxes)


def opened(tree, masks, **options):
    return open_dataset(DataConfig(name="folder", dir=str(tree), masks_dir=str(masks)), **options)


def mask_of(tree, masks, *, domain="outdoor", index=4):
    return np.asarray(opened(tree, masks)[domain].load(index)[1])


def filled(*corners):
    mask = np.zeros((20, 24), np.uint8)
    for left, top, right, bottom in corners:
        mask[top:bottom, left:right] = 255
    return mask


def test_masks_are_the_union_of_filled_boxes(annotate, tree):
    masks = annotate([("object", *WHITE), ("object", 10, 0, 24, 8)])
    domain = opened(tree, masks)["indoor"]
    assert domain.has_masks
    for index in range(len(domain)):
        assert np.array_equal(np.asarray(domain.load(index)[1]), filled(WHITE, (10, 0, 24, 8)))
    assert np.array_equal(np.asarray(pickle.loads(pickle.dumps(domain)).load(2)[1]), mask_of(tree, masks))


def test_only_boxes_of_the_class_are_used_if_it_is_a_category(annotate, tree):
    masks = annotate([("Cat", 0, 0, 5, 5), ("tree", 5, 5, 9, 9)])  # no category for dogs
    domain = opened(tree, masks)["indoor"]
    for index, label in enumerate(domain.labels):
        kept = [(0, 0, 5, 5)] if domain.classes[label] == "cat" else [(0, 0, 5, 5), (5, 5, 9, 9)]
        assert np.array_equal(np.asarray(domain.load(index)[1]), filled(*kept))


def test_boxes_move_with_their_image(annotate, tree):
    view = TrainingView(opened(tree, annotate([("object", *WHITE)]))["indoor"], "all", image_size=48, seed=0)
    for position in range(len(view)):
        for step in range(5):
            item = view[position, step]
            bright = item["image"].mean(0) > item["image"].max() / 2
            assert (bright != (item["mask"][0] > 0.5)).float().mean() < 0.06
            assert item["mask"].any()


def test_boxes_equal_png_masks_of_the_same_area(annotate, tree, tmp_path):
    boxes = opened(tree, annotate([("object", *WHITE)]))["indoor"]
    for image in tree.glob("*/*/*.jpg"):
        path = tmp_path / "painted" / image.relative_to(tree).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(filled(WHITE)).save(path)
    painted = opened(tree, tmp_path / "painted")["indoor"]
    for step in range(3):
        one, other = (TrainingView(d, "all", image_size=16, seed=1)[2, step] for d in (boxes, painted))
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_error_names_images_without_box(annotate, tree):
    with pytest.raises(UnreadableImageError, match=r"6 of 6 (?s:.*)cat.0000.*: no box\n(?s:.*)and 1 more"):
        opened(tree, annotate([]))


def test_error_names_images_without_box_of_their_class(annotate, tree):
    masks = annotate([("dog", 0, 0, 5, 5)])
    if masks.is_file():  # a category that no box has
        content = json.loads(masks.read_text())
        content["categories"].append({"id": 9, "name": "cat"})
        masks.write_text(json.dumps(content))
    else:
        (masks / "indoor/cat/0001.xml").write_text(voc([("cat", 0, 0, 5, 5)]))
    with pytest.raises(UnreadableImageError, match=r"(?s)cat.000[02].*: no box of 'cat', only of dog"):
        opened(tree, masks)


def test_boxes_of_another_aspect_ratio_are_reported_on_opening(annotate, tree):
    masks = annotate([("object", *WHITE)])
    Image.new("RGB", (20, 24)).save(tree / "indoor" / "cat" / "0001.jpg")
    with pytest.raises(UnreadableImageError, match=r"1 of 12 (?s:.*)cat.0001.*drawn on 24 x 20 pixels"):
        opened(tree, masks)


def test_coco_file_names_may_be_unambiguous_suffixes(tree, tmp_path):
    names = [p.relative_to(tree).as_posix() for p in tree.glob("*/*/*.jpg") if "indoor" in p.parts]
    path = tmp_path / "boxes.json"

    def write(cut):
        path.write_text(json.dumps(coco({cut(n): [("object", *WHITE)] for n in names})))

    write(lambda name: name.replace("/", "\\"))
    both = opened(tree, path)
    assert both["indoor"].has_masks
    assert not both["outdoor"].has_masks
    write(lambda name: name.partition("/")[2])
    assert opened(tree, path, domains=["indoor"])["indoor"].has_masks
    with pytest.raises(ValueError, match=r"'cat/0000\.jpg' matches .*indoor.* and .*outdoor"):
        opened(tree, path)


def test_outlines_are_ignored_with_a_warning(tree, tmp_path):
    masks = write_coco(tmp_path / "boxes.json", tree, [("object", *WHITE)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(tree, masks)
    content = json.loads(masks.read_text())
    content["annotations"][3]["segmentation"] = [[0, 0, 5, 0, 5, 5]]
    masks.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="outlines"):
        assert np.array_equal(mask_of(tree, masks), filled(WHITE))


def test_png_mask_takes_precedence_over_boxes(tree, tmp_path):
    masks = write_voc(tmp_path / "masks", tree, [("object", *WHITE)])
    Image.new("L", (24, 20), 7).save(masks / "outdoor" / "dog" / "0001.png")
    assert (mask_of(tree, masks, index=4) == 7).all()
    assert np.array_equal(mask_of(tree, masks, index=3), filled(WHITE))


@pytest.mark.parametrize("size", [(48, 40), (12, 10), (13, 11), (240, 200)])
def test_masks_of_another_resolution_are_resized(tree, tmp_path, size):
    masks = write_voc(tmp_path / "masks", tree, [("object", *WHITE)])
    Image.fromarray(filled(WHITE)).resize(size).save(masks / "outdoor" / "dog" / "0001.png")
    found = mask_of(tree, masks).astype(int)
    assert found.shape == (20, 24)
    assert np.abs(found - filled(WHITE)).mean() < 20


def test_sixteen_bit_soft_masks_are_preserved(tree, tmp_path):
    masks = write_voc(tmp_path / "masks", tree, [("object", *WHITE)])
    soft = np.linspace(0, 65535, 480).reshape(20, 24).astype(np.uint16)
    Image.fromarray(soft).save(masks / "outdoor" / "dog" / "0001.png")
    assert np.abs(mask_of(tree, masks) / 255 - soft / 65535).max() < 0.003


HOSTILE = {
    "truncated": voc([("object", *WHITE)])[:120],
    "empty": "",
    "another root": "<html/>",
    "bomb": '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>',
    "utf-16": voc([("object", *WHITE)]).encode("utf-16"),
    "no corners": "<annotation><object><name>cat</name></object></annotation>",
    "no corner": voc([("object", *WHITE)]).replace("xmax", "max"),
    "no number": voc([("object", *WHITE)]).replace("<xmin>5", "<xmin>five"),
    "not a number": voc([("object", *WHITE)]).replace("<xmin>5", "<xmin>nan"),
    "no area": voc([("object", 9, 9, 3, 3)]),
    "infinite size": voc([("object", *WHITE)], "<size><width>inf</width><height>1</height></size>"),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_damaged_or_hostile_xml_raises(tree, tmp_path, content):
    masks = write_voc(tmp_path / "masks", tree, [("object", *WHITE)])
    damaged = masks / "outdoor" / "cat" / "0002.xml"
    damaged.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(
        UnreadableImageError, match=r"1 of 6 annotations of domain 'outdoor'(?s:.*)0002\.xml: "
    ):
        opened(tree, masks)


def broken(**changes):
    """The JSON text of one image with a field of an entry changed."""
    content = coco({"a.jpg": [("cat", *WHITE)]})
    for place, value in changes.items():
        table, _, field = place.partition("__")
        content[table] = [{**content[table][0], field: value}] if field else value
    return json.dumps(content)


DAMAGED = {
    "truncated": broken()[:50],
    "empty": "",
    "a list": "[]",
    "deep": "[" * 200_000,
    "no images": broken(images=None),
    "images of text": broken(images=["a.jpg"]),
    "one id twice": broken(images=[{"id": 1, "file_name": n} for n in "ab"]),
    "one name twice": broken(images=[{"id": 7 + i, "file_name": "a"} for i in range(2)]),
    "unknown image": broken(annotations__image_id=99),
    "unknown category": broken(annotations__category_id=99),
    "unhashable": broken(annotations__image_id=[]),
    "three numbers": broken(annotations__bbox=[1, 2, 3]),
    "text": broken(annotations__bbox=["a", 2, 3, 4]),
    "nothing": broken(annotations__bbox=None),
    "not a number": broken(annotations__bbox=[float("nan"), 2, 3, 4]),
    "no area": broken(annotations__bbox=[1, 2, 0, 4]),
    "infinite": broken(images__width=float("inf")),
    "no name": broken(images__file_name=None),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_or_hostile_json_raises(tree, tmp_path, content):
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(UnreadableImageError, match=r"boxes\.json: .+"):
        opened(tree, tmp_path / "boxes.json")


def test_binary_file_as_annotation_raises(tree, tmp_path):
    (tmp_path / "boxes.json").write_bytes(b"\xff\xd8\xff\xe0" * 20)
    with pytest.raises(UnreadableImageError, match=r"boxes\.json: not a COCO instances file"):
        opened(tree, tmp_path / "boxes.json")


def test_missing_masks_dir_raises(tree, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist.*COCO JSON"):
        opened(tree, tmp_path / "nowhere")
