"""Commands that take images: explain and attack."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from egat_hub.attacks import PGD
from egat_hub.core.randomness import SampleRandom
from egat_hub.data import DataConfig, open_dataset
from egat_hub.hub import from_pretrained


def levels(path) -> np.ndarray:
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image).astype(int)


def test_explain_prints_the_prediction_and_draws_the_map(call, small_model, photos, tmp_path):
    called = call("explain", small_model, photos, "--output", tmp_path / "maps", "--json")
    assert (called.code, called.err) == (0, "")
    names = ["cat/a.bmp", "cat/b.png", "dog/a.png", "dog/b.jpg"]
    assert [entry["image"] for entry in called.data] == [str(photos / name) for name in names]
    assert json.loads((tmp_path / "maps" / "explanations.json").read_text()) == called.data
    for name, entry in zip(names, called.data, strict=True):
        why = from_pretrained(small_model).explain(photos / name)
        assert entry["label"] == why.label
        assert entry["probabilities"] == pytest.approx(dict(why.probabilities), abs=1e-5)
        drawn = levels(tmp_path / "maps" / f"{name}.png")
        assert abs(drawn - np.asarray(why.panel()).astype(int)).max() <= 2
        assert entry["picture"] == str(tmp_path / "maps" / f"{name}.png")


def test_explain_of_several_images_and_a_label_as_text(call, small_model, photos, tmp_path):
    images = photos / "dog/a.png", photos / "dog/b.jpg"
    called = call("explain", small_model, *images, "--output", tmp_path, "--label", "owl", "--overlay-only")
    assert called.code == 0
    assert f"Pictures and explanations.json are in {tmp_path}" in called.out
    with Image.open(images[0]) as photo, Image.open(tmp_path / "a.png.png") as overlay:
        assert photo.size == overlay.size
    assert (tmp_path / "b.jpg.png").is_file()


@pytest.mark.parametrize("command", ["explain", "attack"])
def test_a_damaged_image_does_not_stop_the_others(call, small_model, photos, tmp_path, command):
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos/cat/a.bmp").write_bytes(b"no image")
    made = tmp_path / "photos" / "made"
    for _ in range(2):  # what the first run wrote is not among the images of the second
        called = call(command, small_model, tmp_path / "photos", "--output", made, "--json")
        assert called.code == 1
        (line,) = called.err.strip().splitlines()
        assert line.startswith("error: Cannot read")
        assert "a.bmp" in line
        entries = called.data if command == "explain" else called.data["images"]
        assert len(entries) == 3


def test_attack_writes_images_in_the_ball_that_fool_the_model(call, small_model, photos, tmp_path):
    words = ("--epsilon", 8 / 255, "--options.steps", 4, "--seed", 5, "--output", tmp_path)
    called = call("attack", small_model, photos, *words, "--json")
    assert (called.code, called.err) == (0, "")
    answer, model = called.data, from_pretrained(small_model)
    assert answer["n"] == len(answer["images"]) == 4
    assert answer["protocol"]["steps"] == 4
    for number, entry in enumerate(answer["images"]):
        attacked = levels(entry["adversarial"])
        clean = levels(entry["adversarial"].replace("/adversarial/", "/clean/"))
        assert abs(attacked - clean).max() == round(entry["distance"] * 255) <= 8
        assert entry["truth"] in entry["image"]
        pixels = torch.tensor(np.stack([clean, attacked])).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            found = model(pixels).argmax(1).tolist()
        assert [model.label_names[c] for c in found] == [entry["clean"], entry["attacked"]]
        if entry["clean"] == entry["truth"]:
            label = torch.tensor([model.label_names.index(entry["truth"])])
            expected = PGD(steps=4)(model, pixels[:1], label, 8 / 255, random=SampleRandom(5, (number,)))
            assert abs(expected[0].permute(1, 2, 0).numpy() * 255 - attacked).max() <= 1
    right = [entry["attacked"] == entry["truth"] == entry["clean"] for entry in answer["images"]]
    assert answer["robust_accuracy_of_files"] == 25 * sum(right)
    assert answer["robust_accuracy"] <= answer["clean_accuracy"]


def test_attack_on_what_the_model_predicts(call, small_model, photos, tmp_path):
    words = ("attack", small_model, photos / "dog/a.png", "--output", tmp_path, "--predicted")
    assert (
        "accuracy 100.0 %, robust accuracy 100.0 %, of the files 100.0 %" in call(*words, "--epsilon", 0).out
    )
    text = call(*words, "--epsilon", 0.5).out
    assert "robust accuracy 0.0 %, of the files 0.0 %" in text
    assert f"adversarial/ and attacked.json to {tmp_path}" in text


def test_prediction_is_the_label_without_class_folders(call, small_model, photos, tmp_path):
    shutil.copytree(photos / "dog", tmp_path / "album")
    called = call("attack", small_model, tmp_path / "album", "--output", tmp_path / "made", "--epsilon", 0)
    assert called.code == 0
    assert "true classes: the model's predictions" in called.out
    assert "Clean accuracy 100.0 %" in called.out


@pytest.mark.parametrize("command", ["explain", "attack"])
def test_sampled_images_can_be_explained_and_attacked(call, synthetic_model, tmp_path, command):
    words = ("--domain", "night", "--images", 3, "--data.image_size", 32, "--data.synthetic_size", 20)
    sampled = call("sample", tmp_path / "photos", *words)
    assert (sampled.code, sampled.err) == (0, "")
    assert f"test images of synthetic/night to {tmp_path / 'photos'}\nNext:" in sampled.out
    night = open_dataset(DataConfig(image_size=32, synthetic_size=20))["night"]
    for path in (tmp_path / "photos").rglob("*.png"):
        index = int(path.stem)
        assert index in night.indices("test")
        assert path.parent.name == night.classes[night.labels[index]]
        assert np.array_equal(levels(path), np.asarray(night.load(index)[0]))
    called = call(command, synthetic_model, tmp_path / "photos", "--output", tmp_path / "made", "--json")
    assert called.code == 0
    assert "trained on generated images" in called.err
    assert len(called.data if command == "explain" else called.data["images"]) == 3


@pytest.mark.parametrize("command", ["explain", "attack"])
def test_linked_class_folders_are_searched(call, small_model, photos, tmp_path, command):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/dog").symlink_to(photos / "cat")
    called = call(command, small_model, tmp_path / "linked", "--output", tmp_path / "made", "--json")
    entries = called.data if command == "explain" else called.data["images"]
    assert [entry["image"] for entry in entries] == [
        str(tmp_path / f"linked/dog/{n}") for n in ("a.bmp", "b.png")
    ]
    assert command == "explain" or {entry["truth"] for entry in entries} == {"dog"}


def test_invalid_arguments_of_explain(refused, small_model, photos, tmp_path):
    refused("Expected images or folders", "explain", small_model)
    refused(
        "would be written to",
        "explain",
        small_model,
        photos / "cat/a.bmp",
        photos / "cat/../cat/a.bmp",
        "--output",
        tmp_path / "out",
    )
    (tmp_path / "notes.txt").touch()
    refused("is a file", "explain", small_model, photos, "--output", tmp_path / "notes.txt")
    refused("found nothing at", "explain", small_model, tmp_path / "nowhere")
    refused("found none", "explain", small_model, tmp_path)
    refused("does not exist", "explain", tmp_path / "no_model", photos)
    refused("Did you mean 'grad_cam'", "explain", small_model, photos, "--explanation", "grad_cams")
    refused("No class 'dogg'", "explain", small_model, photos, "--label", "dogg", "--output", tmp_path)
    refused("alpha in [0, 1]", "explain", small_model, photos, "--alpha", "2")
    refused("Expected a device", "explain", small_model, photos, "--device", "gpu7")


def test_invalid_arguments_of_attack(refused, small_model, photos, tmp_path):
    refused("epsilon in [0, 1]", "attack", small_model, photos, "--epsilon", "8")
    refused("Did you mean 'pgd'", "attack", small_model, photos, "--attack", "pdg")
    refused("PGD has no stesp. Known:", "attack", small_model, photos, "--options.stesp", "4")
    refused("name one truth", "attack", small_model, photos, "--label", "dog", "--predicted")
    (tmp_path / "notes.txt").touch()
    refused("is a file", "attack", small_model, photos, "--output", tmp_path / "notes.txt")
    refused("--label among dog, cat, owl", "attack", small_model, photos, "--label", "bird")


def test_an_image_in_a_folder_of_another_name_is_reported(call, small_model, photos, tmp_path):
    for name in ("bird", "dog"):
        (tmp_path / name).mkdir()
        shutil.copy(photos / "dog/a.png", tmp_path / name)
    called = call("attack", small_model, tmp_path, "--output", tmp_path / "made", "--json")
    assert called.code == 1
    assert "its folder 'bird' is not a class of the model" in called.err
    assert [entry["image"] for entry in called.data["images"]] == [str(tmp_path / "dog/a.png")]
