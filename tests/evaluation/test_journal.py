"""An evaluation that was killed goes on after its last batch and ends with the same rows."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from egat_hub.evaluation import evaluate
from egat_hub.evaluation.config import measure
from tests.evaluation import killed_evaluation
from tests.evaluation.killed_evaluation import DONE, rows
from tests.helpers.training import view

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


def test_it_goes_on_and_ends_with_the_same_rows(journal, measured):
    resumed = rows(journal)
    assert len(measured) == BATCHES - DONE
    assert resumed == rows(None)
    assert rows(journal) == resumed
    assert len(measured) == 2 * BATCHES - DONE


@pytest.mark.parametrize("content", ["", '{"key": "abc'])
def test_a_file_that_is_not_whole_is_measured_again(journal, measured, content):
    min(journal.glob("batch_*.json")).write_text(content)
    assert rows(journal) == rows(None)
    assert len(measured) == 2 * BATCHES - DONE + 1


def test_another_batch_size_goes_on_too(journal, measured):
    resumed = rows(journal, batch_size=4)
    assert [len(batch) for batch in measured] == [2, 2]
    for one, other in zip(resumed, rows(None), strict=True):
        assert (one.metric, one.protocol, one.n) == (other.metric, other.protocol, other.n)
        assert one.value == pytest.approx(other.value, abs=1e-3)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"restarts": 2}, {"faithfulness": None}])
def test_that_of_another_model_or_configuration_is_refused(journal, changed):
    with pytest.raises(ValueError, match="batches of another evaluation"):
        rows(journal, **changed)
    assert len(list(journal.iterdir())) == DONE


def test_that_of_other_images_is_refused(journal, monkeypatch):
    monkeypatch.setattr(killed_evaluation, "view", lambda split: view("val"))
    with pytest.raises(ValueError, match="batches of another evaluation"):
        rows(journal)
