"""Images of any mode are decoded to upright RGB; damaged files are reported together up front."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from egat_hub.data import DataConfig, UnreadableImageError, open_dataset
from egat_hub.data.images import image_suffixes, read_image

GRAY = 128


def sixteen_bit(*_):
    return Image.fromarray(np.full((6, 8), GRAY * 257, np.uint16))


def palette(*_):
    return Image.new("RGB", (8, 6), (GRAY,) * 3).convert("P", palette=Image.Palette.ADAPTIVE)


MODES = {
    "rgb.png": lambda: Image.new("RGB", (8, 6), (GRAY,) * 3),
    "gray.png": lambda: Image.new("L", (8, 6), GRAY),
    "gray.jpg": lambda: Image.new("L", (8, 6), GRAY),
    "gray_alpha.png": lambda: Image.new("LA", (8, 6), (GRAY, 255)),
    "rgba.png": lambda: Image.new("RGBA", (8, 6), (GRAY, GRAY, GRAY, 255)),
    "half_transparent.png": lambda: Image.new("RGBA", (8, 6), (0, 0, 0, 127)),
    "cmyk.jpg": lambda: Image.new("CMYK", (8, 6), (0, 0, 0, 255 - GRAY)),
    "palette.png": palette,
    "palette.gif": palette,
    "sixteen_bit.png": sixteen_bit,
    "sixteen_bit.tif": sixteen_bit,
    "thirty_two_bit.tif": lambda: Image.fromarray(np.full((6, 8), GRAY * 257, np.int32)),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_rgb(name, tmp_path):
    path = tmp_path / name
    MODES[name]().save(path)
    image = read_image(path, name=name)
    assert (image.mode, image.size) == ("RGB", (8, 6))
    assert np.abs(np.asarray(image).astype(int) - GRAY).max() <= 2


def test_transparency_becomes_white_and_one_bit_images_are_decoded(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png", name="clear").getpixel((0, 0)) == (255, 255, 255)
    black_and_white = Image.new("1", (4, 4))
    black_and_white.putpixel((1, 2), 1)
    black_and_white.save(tmp_path / "bits.png")
    image = np.asarray(read_image(tmp_path / "bits.png", name="bits"))
    assert image.sum() == 3 * 255
    assert image[2, 1].tolist() == [255] * 3


def test_exif_orientation_is_applied(tmp_path):
    image, exif = Image.new("RGB", (8, 6)), Image.Exif()
    image.paste((255, 255, 255), (0, 0, 8, 3))
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    upright = np.asarray(read_image(tmp_path / "turned.jpg", name="turned"))
    assert upright.shape == (8, 6, 3)
    assert upright[:, 5].min() > 200
    assert upright[:, 0].max() < 50


def test_floating_point_images_are_rejected(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(UnreadableImageError, match=r"float\.tif: floating-point"):
        read_image(tmp_path / "float.tif", name="float.tif")


def test_image_suffixes_exclude_other_files():
    assert {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".gif"} <= image_suffixes()
    assert not {".pdf", ".txt", ".db", ".json", ""} & image_suffixes()


def test_one_error_lists_all_damaged_files(make_tree):
    root = make_tree(("indoor", "outdoor"), ("cat", "dog"))
    whole = (root / "indoor" / "cat" / "0000.jpg").read_bytes()
    damage = {"0000.jpg": whole[: len(whole) // 2], "0001.jpg": b"not an image", "0002.jpg": b""}
    for name, content in damage.items():
        for folder in ("indoor/cat", "outdoor/dog"):
            (root / folder / name).write_bytes(content)
    config = DataConfig(name="folder", dir=str(root))
    with pytest.raises(UnreadableImageError) as caught:
        open_dataset(config)
    message = str(caught.value)
    assert message.startswith("6 of 20 images cannot be used")
    assert message.count(".jpg") >= 5
    assert "and 1 more" in message
    assert "remove" in message
    assert str(root / "indoor" / "cat" / "0000.jpg") in message


def test_verify_can_be_disabled_and_checks_requested_domains_only(make_tree):
    root = make_tree(("indoor", "outdoor"), ("cat", "dog"))
    broken = root / "outdoor" / "cat" / "0000.jpg"
    broken.write_bytes(b"broken")
    config = DataConfig(name="folder", dir=str(root))
    open_dataset(config, ["indoor"])
    dataset = open_dataset(config, verify=False)
    with pytest.raises(UnreadableImageError, match=r"0000\.jpg"):
        dataset["outdoor"].load(0)
