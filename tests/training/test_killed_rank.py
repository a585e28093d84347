"""One of several processes is killed: the job ends, and goes on from its checkpoint as if it had not."""

from __future__ import annotations

import json

import pytest

from tests.helpers.launching import launched
from tests.helpers.training import log_of
from tests.training.killed_rank import STEPS


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_rank_ends_the_job_and_the_run_resumes(tmp_path):
    first = launched("two_cpus.yaml", "-m", "tests.training.killed_rank", str(tmp_path))
    assert first.returncode != 0
    assert "Signal 9 (SIGKILL)" in first.stderr
    assert not (tmp_path / "parts.safetensors").exists()
    (checkpoint,) = (tmp_path / "parts" / "checkpoints").glob("step_*")
    assert json.loads((checkpoint / "progress.json").read_text())["step"] == 4
    second = launched("two_cpus.yaml", "-m", "tests.training.killed_rank", str(tmp_path), "whole")
    assert second.returncode == 0, second.stderr[-4000:]
    parts, whole = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("parts", "whole"))
    assert parts == whole
    losses = [[line["loss"] for line in log_of(tmp_path / name)[0]] for name in ("parts", "whole")]
    assert losses[0] == losses[1]
    assert len(losses[0]) == STEPS
