"""A run that diverges is left out and named, and stops nothing else."""

from __future__ import annotations

import json

import pytest

from egat_hub.core.results import read_rows
from egat_hub.experiments.executors import FAILED
from tests.experiments.tiny import call_vlcs as call

DIVERGES = ("--methods", "igr", "erm", "--igr.lambda_igr", "1e300")


def test_other_runs_finish_after_a_diverged_one(tmp_path, capsys):
    call(tmp_path, *DIVERGES)
    assert {row.method for row in read_rows(tmp_path / "results.json")} == {"erm"}
    (reason,) = tmp_path.glob(f"igr_*/{FAILED}")
    assert "The loss is not finite at step 0" in reason.read_text()
    shown = " ".join(capsys.readouterr().out.split())
    assert "Failed: igr on meadow, seed 0. The loss is not finite" in shown
    assert f"Remove {reason} to try it again." in shown


def test_diverged_run_is_retried_on_request_only(tmp_path, capsys):
    call(tmp_path, *DIVERGES)
    (reason,) = tmp_path.glob(f"igr_*/{FAILED}")
    begun = reason.stat().st_mtime_ns
    call(tmp_path, *DIVERGES)
    assert reason.stat().st_mtime_ns == begun
    reason.unlink()
    call(tmp_path, *DIVERGES)
    assert reason.stat().st_mtime_ns > begun


def test_search_skips_diverged_candidates(tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text("igr: {lambda_igr: [1.0e+300, 0.1]}\n")
    call(tmp_path, "--methods", "igr", "--search", str(grid))
    trials = json.loads((tmp_path / "search.json").read_text())["trials"]
    assert [(trial["score"] is None, trial["chosen"]) for trial in trials] == [(True, False), (False, True)]


def test_search_raises_if_every_candidate_diverges(tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text("igr: {lambda_igr: [1.0e+300, 1.0e+299]}\n")
    with pytest.raises(SystemExit, match="No candidate of igr could be trained"):
        call(tmp_path, "--methods", "igr", "--search", str(grid))
