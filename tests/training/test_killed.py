"""A run that is killed at any moment, also while it writes a checkpoint, ends as one that was not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.training import MEASURED
from tests.training.killed_run import KILLS, STEPS

ROOT = Path(__file__).parents[2]
NO_THREADS = {"OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""A process with threads cannot fork safely, and pyarrow starts one."""


@pytest.mark.slow
def test_killed_and_resumed_run_equals_an_uninterrupted_one(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.killed_run", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, **NO_THREADS},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])  # after lines of progress
    assert outcome["codes"] == [0, 0]
    assert outcome["killed"] == KILLS
    assert outcome["interrupted"] >= 1
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert (killed / "final.safetensors").read_bytes() == (whole / "final.safetensors").read_bytes()
    assert (killed / "final.json").read_text() == (whole / "final.json").read_text()
    lines = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (killed, whole)
    ]
    for line in lines[0] + lines[1]:
        for name in MEASURED:
            line.pop(name, None)
    assert lines[0] == lines[1]
    assert [line["step"] for line in lines[0] if "val_clean_accuracy" in line] == list(range(0, STEPS + 1, 3))
    assert [path.name for path in (killed / "checkpoints").iterdir()] == [f"step_{STEPS:08}"]
