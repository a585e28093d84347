"""An evaluation that was killed goes on after its last batch and ends with the same rows."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.evaluation.config import measure
from tests.evaluation import killed_evaluation
from tests.evaluation.killed_evaluation import DONE, rows
from tests.helpers.training import network, view

ROOT = Path(__file__).parents[2]
BATCHES = 4


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What a killed evaluation left."""
    folder = tmp_path_factory.mktemp("killed") / "journal"
    done = subprocess.run(
        [sys.executable, "-m", "tests.evaluation.killed_evaluation", str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=200,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(folder.glob("batch_*.json"))) == DONE
    return folder


@pytest.fixture
def journal(killed, tmp_path):
    """A copy to do with as one likes."""
    shutil.copytree(killed, tmp_path / "journal")
    return tmp_path / "journal"


@pytest.fixture
def measured(monkeypatch):
    """Numbers of the images of every batch that is measured."""
    batches = []

    def recorded(model, images, labels, random, **options):
        batches.append(random.index)
        return measure(model, images, labels, random, **options)

    monkeypatch.setattr(sys.modules[evaluate.__module__], "measure", recorded)
    return batches


def test_interrupted_evaluation_resumes_with_the_same_rows(journal, measured):
    resumed = rows(journal)
    assert len(measured) == BATCHES - DONE
    assert resumed == rows(None)
    assert rows(journal) == resumed
    assert len(measured) == 2 * BATCHES - DONE


@pytest.mark.parametrize("content", ["", '{"key": "abc'])
def test_truncated_file_is_measured_again(journal, measured, content):
    min(journal.glob("batch_*.json")).write_text(content)
    assert rows(journal) == rows(None)
    assert len(measured) == 2 * BATCHES - DONE + 1


def test_batch_size_may_change_on_resume(journal, measured):
    resumed = rows(journal, batch_size=4)
    assert [len(batch) for batch in measured] == [2, 2]
    for one, other in zip(resumed, rows(None), strict=True):
        assert (one.metric, one.protocol, one.n) == (other.metric, other.protocol, other.n)
        assert one.value == pytest.approx(other.value, abs=1e-3)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"restarts": 2}, {"faithfulness": None}])
def test_journal_of_another_model_or_config_raises(journal, changed):
    with pytest.raises(ValueError, match="batches of another evaluation"):
        rows(journal, **changed)
    assert len(list(journal.iterdir())) == DONE


def test_journal_of_other_images_raises(journal, monkeypatch):
    monkeypatch.setattr(killed_evaluation, "view", lambda split: view("val"))
    with pytest.raises(ValueError, match="batches of another evaluation"):
        rows(journal)


class Relabelled(torch.utils.data.Dataset):
    """The test split with other labels."""

    def __init__(self, change):
        self.view, self.change = view("test"), change

    def __len__(self):
        return len(self.view)

    def __getitem__(self, position):
        item = self.view[position]
        return item["image"], self.change(int(item["label"]))


def test_journal_of_other_labels_raises(tmp_path):
    config = EvaluationConfig(epsilons=(), explanation=None)
    first = evaluate(network(), Relabelled(int), config, journal=tmp_path)
    assert evaluate(network(), Relabelled(int), config, journal=tmp_path) == first
    with pytest.raises(ValueError, match="another model, images, labels"):
        evaluate(network(), Relabelled(lambda label: 4 - label), config, journal=tmp_path)


def test_journal_of_another_forward_of_the_same_weights_raises(tmp_path):
    config, data = EvaluationConfig(epsilons=(), explanation=None), view("test")
    model = network()
    evaluate(model, data, config, journal=tmp_path)
    model.net.register_forward_hook(lambda module, images, logits: -logits)
    with pytest.raises(ValueError, match="another model, images, labels"):
        evaluate(model, data, config, journal=tmp_path)


def test_model_with_random_outputs_can_resume(tmp_path):
    config, data = EvaluationConfig(epsilons=(), explanation=None), view("test")
    model = network()
    model.net.register_forward_hook(lambda module, images, logits: logits + torch.randn_like(logits))
    assert evaluate(model, data, config, journal=tmp_path) == evaluate(model, data, config, journal=tmp_path)
