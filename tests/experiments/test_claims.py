"""A folder has one owner, and gets another one when that one is dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from egat_hub.experiments import claim as claim_module
from egat_hub.experiments.claim import SILENCE, Claim, claimed, owner
from tests.experiments.claimed_runs import CELLS
from tests.experiments.tiny import elsewhere

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cell"


def died() -> int:
    """Number of a process that is gone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_folder_is_claimed_once_and_again_after_its_release(folder):
    first = Claim.take(folder)
    assert Claim.take(folder) is None
    assert str(os.getpid()) in owner(folder)
    first.release()
    assert owner(folder) == ""
    Claim.take(folder).release()
    assert not list(folder.iterdir())


def test_the_claim_of_a_dead_process_of_this_host_is_taken_over_at_once(folder):
    Claim.take(folder)._over.set()
    path = folder / "claim.0"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid": died()}))
    taken = Claim.take(folder)
    assert taken.path.name == "claim.1"
    taken.release()
    assert not list(folder.iterdir())


@pytest.mark.parametrize(("age", "void"), [(0.0, False), (SILENCE / 2, False), (SILENCE + 60, True)])
def test_a_claim_of_another_machine_is_void_after_a_long_silence(folder, age, void):
    elsewhere(folder, age=age)
    taken = Claim.take(folder)
    assert (taken is not None) == void
    if taken:
        taken.release()


def test_the_clock_of_this_machine_does_not_matter(folder, monkeypatch):
    elsewhere(folder)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert Claim.take(folder) is None


def test_a_claim_that_is_not_written_yet_counts(folder):
    elsewhere(folder).write_text("")
    assert Claim.take(folder) is None


def test_one_of_many_takes_over(folder):
    elsewhere(folder, age=SILENCE + 60)
    with ThreadPoolExecutor(16) as pool:
        taken = [claim for claim in pool.map(lambda _: Claim.take(folder), range(64)) if claim]
    assert [claim.path.name for claim in taken] == ["claim.1"]
    taken[0].release()


def test_a_living_claim_is_refreshed(folder):
    claim = Claim.take(folder, beat=0.01)
    os.utime(claim.path, (0, 0))
    end = time.monotonic() + 20
    while not claim.path.stat().st_mtime and time.monotonic() < end:
        time.sleep(0.01)
    assert claim.path.stat().st_mtime
    claim.release()


@pytest.fixture
def interruptible():
    """Interrupts as of a program in the foreground, whatever started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_process_that_lost_its_claim_stops(folder, capfd, interruptible):
    claim = Claim.take(folder, beat=0.01)
    (folder / "claim.1").touch()
    with pytest.raises(KeyboardInterrupt):
        time.sleep(20)
    assert "was taken over while this process gave no sign of life" in capfd.readouterr().out
    claim.release()
    assert [path.name for path in folder.iterdir()] == ["claim.1"]


def test_a_claim_of_the_same_name_is_not_taken_for_ones_own(folder, capfd, interruptible):
    """While this process slept, another one took over and was done, and a third one has the folder."""
    sleeper = Claim.take(folder, beat=1000)
    sleeper.path.unlink()
    owner_now = Claim.take(folder)
    assert owner_now.path == sleeper.path
    with pytest.raises(KeyboardInterrupt):
        sleeper._live(0.0)
    assert "was taken over" in capfd.readouterr().out
    sleeper.release()
    assert owner_now.path.exists()
    owner_now.release()


def test_a_folder_that_changed_hands_while_one_looked_is_left_alone(folder, monkeypatch):
    elsewhere(folder, age=SILENCE + 60)
    is_void = claim_module._is_void

    def slowly(path, silence):
        void = is_void(path, silence)
        monkeypatch.setattr(claim_module, "_is_void", is_void)
        Claim.take(folder).release()
        others.append(Claim.take(folder))
        return void

    others = []
    monkeypatch.setattr(claim_module, "_is_void", slowly)
    assert Claim.take(folder) is None
    assert [path.name for path in folder.iterdir()] == [others[0].path.name] == ["claim.0"]
    others[0].release()


def test_what_is_worked_on_is_refused(folder):
    elsewhere(folder)
    with pytest.raises(FileExistsError, match=r"being worked on by other, process \d+"), claimed(folder):
        pytest.fail("claimed twice")
    (folder / "claim.0").unlink()
    with claimed(folder):
        assert str(os.getpid()) in owner(folder)
    assert not list(folder.iterdir())


LOSER = """
import signal, sys, time
from pathlib import Path
from egat_hub.experiments.claim import Claim
signal.signal(signal.SIGINT, signal.SIG_IGN)
claim = Claim.take(Path(sys.argv[1]), beat=0.01)
(Path(sys.argv[1]) / "claim.1").touch()
time.sleep(60)
"""


def test_a_process_in_the_background_stops_too(folder):
    done = subprocess.run([sys.executable, "-c", LOSER, str(folder)], capture_output=True, timeout=100)
    assert done.returncode == -signal.SIGTERM


def test_of_twenty_cells_none_is_lost_or_done_twice_though_one_process_is_killed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.experiments.claimed_runs", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    notes = {path.parent.name: path.read_text().split() for path in tmp_path.glob("*/notes")}
    assert sorted(notes) == CELLS
    assert all(words.count("done") == 1 for words in notes.values())
    begun = {name: words.count("begun") for name, words in notes.items()}
    (again,) = [name for name, times in begun.items() if times == 2]
    assert sum(begun.values()) == len(CELLS) + 1
    killed, other = notes[again][1], notes[again][3]
    assert killed != other
    assert sum(words[-1] == killed for words in notes.values()) == 2
    assert not list(tmp_path.glob("*/claim*"))
