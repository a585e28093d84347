"""Fine-tuning that cannot work is refused in one message, before anything is trained or written."""

from __future__ import annotations

import re

import pytest

from egat_hub.core.registry import UnknownNameError
from egat_hub.data import DataConfig
from egat_hub.experiments.finetuning import finetune, open_old_domain, prepare
from egat_hub.experiments.starting import open_saved
from egat_hub.methods import EGATConfig
from egat_hub.training import FinetuneConfig
from tests.experiments.conftest import KNOWN, save_base, write_images

EXPECTED = (ValueError, UnknownNameError, OSError)


@pytest.fixture
def refused(finetune_options, tmp_path):
    """Whether a request ends in a message that matches, with nothing written."""

    def refuse(pattern, **changes):
        with pytest.raises(EXPECTED) as caught:
            finetune(finetune_options(**changes))
        assert re.search(pattern, str(caught.value)), str(caught.value)
        assert not (tmp_path / "run").exists()

    return refuse


@pytest.mark.parametrize(
    ("changes", "pattern"),
    [
        ({"method": "egta"}, "No 'egta' among methods. Did you mean 'egat'"),
        ({"epsilon": 8.0}, r"epsilon in \[0, 1\]"),
        (
            {"finetune": FinetuneConfig(head_warmup=3)},
            "shorter than training, got 3 of 3 steps.*freeze_backbone",
        ),
        ({"source": "resnet5O"}, "Did you mean 'resnet"),
        ({"domain": "home"}, "No 'home' among domains of folder"),
        ({"data": DataConfig("folder")}, "needs a folder .--data.dir."),
        ({"data": DataConfig("synthetic")}, "has the domains meadow, .* name the --domain"),
        ({"old_data": "sinthetic"}, "Did you mean 'synthetic'"),
        ({"configs": {"egat": EGATConfig(guide="mask")}}, "set to use object masks"),
    ],
)
def test_invalid_arguments_raise(refused, changes, pattern):
    refused(pattern, **changes)


@pytest.mark.parametrize(
    ("folders", "pattern"),
    [
        (["cat"], r"fewer than two classes \(cat\).*<data.dir>/<class>/<images>"),
        (["a/cat", "a/dog", "b/cat"], "b has no folder for class 'dog'"),
    ],
)
def test_invalid_image_folders_raise(refused, tmp_path, folders, pattern):
    images = write_images(tmp_path / "data", *folders)
    refused(pattern, data=DataConfig("folder", str(images)), domain="a" if "a/cat" in folders else None)


def test_a_folder_without_images(refused, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "notes.txt").write_text("no image")
    refused("<data.dir>/<class>/<images>", data=DataConfig("folder", str(tmp_path / "data")))


def test_a_damaged_image(refused, tmp_path):
    images = write_images(tmp_path / "data", "cat", "dog")
    (images / "cat/3.png").write_bytes(b"no image")
    refused("1 of 12 images cannot be used", data=DataConfig("folder", str(images)))


def test_old_data_of_other_classes(refused, pets, tmp_path):
    meadow = write_images(tmp_path / "old", "meadow/cat", "meadow/dog")
    refused("Expected the old data to have the classes of", old_data="folder", old_data_dir=str(meadow))


def test_old_data_of_a_model_without_metadata(refused, base, pets):
    refused(
        "do not contain its training data. Leave --old_data",
        source=f"local-dir:{base}",
        data=DataConfig("folder", str(pets), image_size=32),
        old_data="synthetic",
    )


def test_old_data_that_were_not_asked_for_are_no_error(tmp_path):
    saved = open_saved(str(save_base(tmp_path / "other", labels=KNOWN[:3])))
    old = open_old_domain(saved, saved.name)
    assert old.domain is None
    assert "classes of test_resnet.erm_synthetic" in old.missing


def test_output_folder_with_other_files_raises(finetune_options, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="is not the folder of a run"):
        prepare(finetune_options())


def test_output_folder_of_another_run_raises(finetune_options):
    prepare(finetune_options()).run()
    prepare(finetune_options())
    with pytest.raises(FileExistsError, match=r"holds a run with other settings \(seed\)"):
        prepare(finetune_options(seed=1))
