"""Saved models to start from."""

from __future__ import annotations

import shutil

import pytest
import torch

from egat_hub.experiments.starting import open_saved
from egat_hub.hub import push_to_hub
from tests.experiments.conftest import KNOWN, save_base


def test_a_saved_model_by_its_folder_and_by_that_of_its_run(base, tmp_path):
    shutil.copytree(base, tmp_path / "run" / "model")
    first, second = open_saved(str(base)), open_saved(str(tmp_path / "run"))
    assert first.name == second.name == "test_resnet.erm_synthetic"
    assert first.label_names == KNOWN
    assert first.weights == second.weights


def test_a_model_of_the_hub_at_a_revision(base, hub, tmp_path):
    commit = push_to_hub(base, "org/first").oid
    found = open_saved(f"org/first@{commit}")
    assert found.name == f"org/first@{commit}"
    assert found.weights == open_saved(str(base)).weights
    assert found.metadata["train_domain"] == "meadow"


def test_timm_name_is_not_a_saved_model(base):
    assert open_saved(f"local-dir:{base}") is None
    assert open_saved("resnet50") is None


def test_a_missing_model_is_an_error():
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_saved("runs/none/model")


def test_the_order_of_classes_changes_the_order_of_logits_and_nothing_else(base):
    first = open_saved(str(base))
    second = first.ordered(sorted(KNOWN, reverse=True))
    images = torch.rand(2, 3, 32, 32)
    places = [KNOWN.index(name) for name in second.label_names]
    with torch.no_grad():
        torch.testing.assert_close(second.model(images), first.model(images)[:, places])
    assert second.has_classes(KNOWN)
    assert first.ordered(KNOWN) is first
    assert not first.has_classes(KNOWN[:-1])


def test_other_weights_have_another_name(base, tmp_path):
    other = save_base(tmp_path / "other", labels=KNOWN[:3])
    assert open_saved(str(other)).weights != open_saved(str(base)).weights
