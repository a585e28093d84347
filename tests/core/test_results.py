"""Result rows reach the disk whole and come back as they were."""

from __future__ import annotations

import dataclasses
import math
import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egat_hub.core.results import Outcome, Row, Summary, read_outcomes, read_rows, write_outcomes, write_rows

ROW = Row(
    model="resnet50",
    method="egat",
    dataset="vlcs",
    train_domain="Caltech101",
    test_domain="LabelMe",
    split="test",
    metric="robust_accuracy",
    value=43.21,
    n=531,
    seed=2,
    protocol={"attack": "pgd", "epsilon": 8 / 255, "steps": 20, "sizes": [1, 2], "note": None, "naïve": True},
)


def with_value(value: float, **changes) -> Row:
    return dataclasses.replace(ROW, value=value, **changes)


def test_round_trip(tmp_path):
    rows = [ROW, with_value(0.1 + 0.2, protocol={}), with_value(-1e-300, model="ünïcode")]
    write_rows(tmp_path / "results.json", rows)
    assert read_rows(tmp_path / "results.json") == rows
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_rows_may_come_from_a_generator_and_as_a_string_path(tmp_path):
    path = str(tmp_path / "results.json")
    write_rows(path, (with_value(v) for v in (1.0, 2.0)))
    assert [row.value for row in read_rows(path)] == [1.0, 2.0]


def test_writing_replaces_what_was_there(tmp_path):
    path = tmp_path / "results.json"
    write_rows(path, [ROW] * 5)
    write_rows(path, [])
    assert read_rows(path) == []


def unserialisable():
    yield ROW
    yield with_value(1.0, protocol={"attack": object()})


def interrupted():
    yield ROW
    raise KeyboardInterrupt


@pytest.mark.parametrize(("rows", "error"), [(unserialisable, TypeError), (interrupted, KeyboardInterrupt)])
def test_failed_write_keeps_the_previous_file(tmp_path, rows, error):
    path = tmp_path / "results.json"
    write_rows(path, [ROW])
    with pytest.raises(error):
        write_rows(path, rows())
    assert read_rows(path) == [ROW]


def test_full_disk_keeps_the_previous_file(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    write_rows(path, [ROW])
    write_text = Path.write_text

    def run_out_of_space(self, text, *args, **kwargs):
        write_text(self, text[: len(text) // 2], *args, **kwargs)
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", run_out_of_space)
    with pytest.raises(OSError, match="No space"):
        write_rows(path, [with_value(1.0)] * 3)
    assert read_rows(path) == [ROW]
    monkeypatch.undo()
    write_rows(path, [with_value(2.0)])
    assert read_rows(path) == [with_value(2.0)]
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    "text", ["[{", '{"model": 1}', "3", '[{"model": "resnet50"}]', '[{"colour": "red"}]']
)
def test_other_files_raise(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.json does not hold result rows"):
        read_rows(path)


@settings(deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20))
def test_summary_is_mean_and_sample_deviation(values):
    summary = Summary.of(values)
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    assert summary.mean == pytest.approx(statistics.fmean(values))
    assert summary.sd == pytest.approx(variance**0.5, abs=1e-9)
    assert summary.n == len(values)


def test_a_single_value_has_no_deviation():
    assert Summary.of([5.0]) == Summary(mean=5.0, sd=0.0, n=1)


def test_outcomes_come_back_with_their_images(tmp_path):
    written = [Outcome(with_value(50.0), [0.0, 100.0]), Outcome(with_value(1.5), [1.5, math.nan])]
    write_outcomes(tmp_path / "outcomes.jsonl", written)
    read = read_outcomes(tmp_path / "outcomes.jsonl")
    assert [row for row, _ in read] == [row for row, _ in written]
    assert read[0].values == [0.0, 100.0]
    assert read[1].values == pytest.approx([1.5, math.nan], nan_ok=True)
    assert [path.name for path in tmp_path.iterdir()] == ["outcomes.jsonl"]


@pytest.mark.parametrize("text", ["[{", "{}", '{"row": {"colour": "red"}, "values": []}'])
def test_file_without_outcomes_raises(tmp_path, text):
    (tmp_path / "other.jsonl").write_text(text)
    with pytest.raises(ValueError, match=r"other\.jsonl does not hold outcomes"):
        read_outcomes(tmp_path / "other.jsonl")
