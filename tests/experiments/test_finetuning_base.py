"""Where a model to start from may come from."""

from __future__ import annotations

import shutil

import pytest
import torch

from egat_hub.experiments.finetuning import open_base
from egat_hub.hub import from_pretrained, push_to_hub
from tests.experiments.conftest import KNOWN, save_base


def test_a_saved_model_by_its_folder_and_by_that_of_its_run(base, tmp_path):
    shutil.copytree(base, tmp_path / "run" / "model")
    first, second = open_base(str(base)), open_base(str(tmp_path / "run"))
    assert first.name == second.name == "test_resnet.erm_synthetic"
    assert first.label_names == KNOWN
    assert first.weights == second.weights


def test_a_model_of_the_hub_at_a_revision(base, hub, tmp_path):
    commit = push_to_hub(base, "org/first").commit
    found = open_base(f"org/first@{commit}")
    assert found.name == f"org/first@{commit}"
    assert found.weights == open_base(str(base)).weights
    assert found.metadata["train_domain"] == "meadow"


def test_weights_of_timms(base):
    found = open_base(f"local-dir:{base}", image_size=48)
    assert (found.label_names, found.model.image_size) == ((), 48)
    assert torch.equal(found.model.net.conv1[0].weight, from_pretrained(base).model.net.conv1[0].weight)


@pytest.mark.parametrize(
    ("source", "error", "pattern"),
    [
        ("resnet5O", ValueError, "Close matches: .*resnet50"),
        ("runs/none/model", FileNotFoundError, "does not exist"),
        ("resnet50.no_such_tag", ValueError, "timm"),
    ],
)
def test_models_that_are_not_there(source, error, pattern):
    with pytest.raises(error, match=pattern):
        open_base(source)


def test_the_order_of_classes_changes_the_order_of_logits_and_nothing_else(base):
    first = open_base(str(base))
    second = first.ordered(sorted(KNOWN, reverse=True))
    images = torch.rand(2, 3, 32, 32)
    places = [KNOWN.index(name) for name in second.label_names]
    with torch.no_grad():
        torch.testing.assert_close(second.model(images), first.model(images)[:, places])
    assert second.knows(KNOWN)
    assert first.ordered(KNOWN) is first
    assert not first.knows(KNOWN[:-1])


def test_other_weights_have_another_name(base, tmp_path):
    other = save_base(tmp_path / "other", labels=KNOWN[:3])
    assert open_base(str(other)).weights != open_base(str(base)).weights
