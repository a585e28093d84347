"""What cannot work is refused in one message, before anything is trained."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from tests.experiments.tiny import FOLDER, call_vlcs

INDOOR = (*FOLDER, "--domains", "indoor", "--test_domains", "indoor")


@pytest.fixture
def images(tmp_path):
    """Two domains of two classes with six images each, without masks."""
    root, pixels = tmp_path / "images", np.random.default_rng(0)
    for name in ("indoor/cat", "indoor/dog", "outdoor/cat", "outdoor/dog"):
        (root / name).mkdir(parents=True)
        for n in range(6):
            noise = pixels.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / name / f"{n}.jpg")
    return root


@pytest.fixture
def refused(tmp_path, capfd):
    """Whether a command line ends in a message that matches, with nothing trained."""

    def refuse(pattern, *arguments):
        with pytest.raises(SystemExit) as stopped:
            call_vlcs(tmp_path / "out", *arguments)
        code = stopped.value.code
        message = code if isinstance(code, str) else capfd.readouterr().err
        assert code not in (0, None)
        assert re.search(pattern, message, re.DOTALL), message
        assert message.count("error:") == 1
        assert "Traceback" not in message
        assert not list(tmp_path.rglob("log.jsonl"))
        assert not list(tmp_path.rglob("config.json"))

    return refuse


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ("--methods egta", "No 'egta' among methods. Did you mean 'egat'"),
        ("--domains medow", "No 'medow' among domains of synthetic. Did you mean 'meadow'"),
        ("--test_domains medow", "No 'medow' among domains of synthetic. Did you mean 'meadow'"),
        ("--data sinthetic", "No 'sinthetic' among datasets. Did you mean 'synthetic'"),
        ("--model.name resnet5O", "timm knows no network 'resnet5O'. Did you mean '.*resnet"),
        ("--epsilon 2", r"Expected epsilon in \[0, 1\].* got 2.0; 8/255 is 0.0314"),
        ("--epsilons 0.1 8", r"Expected epsilon in \[0, 1\].* got 8.0"),
        ("--train.batch_size 33 --train.accumulation 2", r"got 33 for 1 x 2\. Use 34"),
        ("--train.steps 0", "Expected steps of at least 1, got 0"),
        ("--train.steps many", "train.steps"),
        ("--train.optimizer adma", "adma"),
        ("--evaluation.explanation grad_kam", "No 'grad_kam' among explanations. Did you mean 'grad_cam'"),
        ("--evaluation.attack pdg", "No 'pdg' among attacks. Did you mean 'pgd'"),
        ("--evaluation.faithfulness.fill maen", "No 'maen' among fills. Did you mean 'mean'"),
        ("--evaluation.faithfulness.q 20", r"Expected q in \(0, 1\)"),
        ("--evaluation.faithfulness.shares [0.2,20]", r"Expected q in \(0, 1\)"),
        ("--evaluation.faithfulness.fills ['nose']", "No 'nose' among fills. Did you mean 'noise'"),
        ("--evaluation.insertion_deletion.steps 0", "Expected at least 1 step, got 0"),
        ("--evaluation.localisation.threshold 20", r"Expected a threshold in \(0, 1\]"),
        ("--evaluation.restarts 0", "Expected at least 1 restart, got 0"),
        ("--methods egat --egat.guide grascale", "No 'grascale' among guides. Did you mean 'grayscale'"),
        ("--data.synthetic_size 8", "Class 'circle' of synthetic/meadow has 2"),
        ("--trian.steps 3", "trian"),
        ("--data vlcs --data.synthetic_size 1000", "needs a folder .*--data.dir"),
        ("--data folder --data.synthetic_size 1000 --data-dir /no/such/folder", "/no/such/folder"),
    ],
)
def test_invalid_options_raise(refused, arguments, pattern):
    refused(pattern, *arguments.split())


def test_network_without_maps_raises(refused):
    network = ("--model.name", "test_vit", "--model.options", '{"img_size": 32, "depth": 0}')
    refused("Grad-CAM is not defined there", *network, "--methods", "egat")


def test_an_empty_folder(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    refused("empty", *INDOOR, "--data-dir", str(tmp_path / "empty"))


def test_a_class_without_enough_images(refused, images):
    for n in range(4):
        (images / "indoor" / "cat" / f"{n}.jpg").unlink()
    refused("Class 'cat' of folder/indoor has 2", *INDOOR, "--data-dir", str(images))


def test_a_truncated_image(refused, images):
    damaged = images / "indoor" / "dog" / "3.jpg"
    damaged.write_bytes(damaged.read_bytes()[:200])
    refused("1 of 12 images cannot be used.*3.jpg", *INDOOR, "--data-dir", str(images))


def test_a_guide_of_masks_without_masks(refused, images):
    guided = ("--methods", "erm", "egat", "--egat.guide", "mask")
    refused("egat is set to use object masks.*--data.masks_dir", *INDOOR, "--data-dir", str(images), *guided)


def test_a_config_file_with_a_field_that_does_not_exist(refused, tmp_path):
    (tmp_path / "mine.yaml").write_text("train:\n  stepz: 4\n")
    refused("stepz", "--config", str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize("field", ["methods", "seeds"])
def test_empty_experiment_raises(refused, tmp_path, field):
    (tmp_path / "mine.yaml").write_text(f"{field}: []\n")
    refused("at least one method and one seed", "--config", str(tmp_path / "mine.yaml"))
