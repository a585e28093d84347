"""Families of timm, tried one by one: outcomes, the journal, the table, the command."""

from __future__ import annotations

import dataclasses

import backbones as command
import pytest
import timm
from backbones import (
    BEGIN,
    CHECKS,
    END,
    Outcome,
    append_outcome,
    main,
    put_table,
    read_outcomes,
    read_table,
    smallest,
    summary,
    table,
    try_family,
)

WORKS = Outcome(
    family="cait",
    model="cait_xxs24_224",
    millions=11.8,
    image_size=64,
    grid=4,
    head_form="differentiable",
    feature_layer="blocks",
    result="works",
    timm=timm.__version__,
)
REFUSED = dataclasses.replace(WORKS, family="aa", result="refused: no | map")
FAILS = Outcome(family="zz", result="fails: choosing: ValueError: none", timm=timm.__version__)


def test_supported_family():
    found = try_family("ghostnet")
    assert found.result == "works"
    assert (found.model, found.image_size, found.grid) == ("ghostnet_050", 64, 2)
    assert (found.feature_layer, found.timm) == ("last", timm.__version__)
    assert found.millions == pytest.approx(1.3, abs=0.1)


def test_errors_are_recorded_as_outcomes(monkeypatch):
    def fail(*_):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setitem(CHECKS, "PGD", fail)
    found = try_family("ghostnet")
    assert found.result == "fails: PGD: RuntimeError: out of"
    assert found.model == "ghostnet_050"
    assert try_family("nothing").result.startswith("fails: choosing: ValueError: timm has no family")


def test_smallest_network_has_fewest_parameters():
    name, count = smallest("shvit")
    counts = {
        other: sum(p.numel() for p in timm.create_model(other, num_classes=5).parameters())
        for other in timm.list_models(module="shvit")[:2]
    }
    assert (name, count) == min(counts.items(), key=lambda item: item[1])


def test_the_journal_survives_a_killed_run(tmp_path):
    path = tmp_path / "runs" / "families.jsonl"
    append_outcome(path, FAILS)
    with path.open("a") as file:
        file.write('{"family": "cait", "mod')
    append_outcome(path, WORKS)
    append_outcome(path, dataclasses.replace(FAILS, result="works"))
    append_outcome(path, dataclasses.replace(REFUSED, timm="0.1"))
    found = read_outcomes(path, timm.__version__)
    assert found == {"zz": dataclasses.replace(FAILS, result="works"), "cait": WORKS}
    assert read_outcomes(tmp_path / "none", timm.__version__) == {}


def test_table_lists_every_outcome(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    for _ in range(2):
        put_table(page, [WORKS, REFUSED, FAILS])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert read_table(text) == {
        "aa": "refused: no / map",
        "cait": "works",
        "zz": "fails: choosing: ValueError: none",
    }
    assert "tried: 1 work, 1 are refused, 1 fail." in text
    assert summary([WORKS]).startswith(f"1 of the {len(timm.list_modules())} families of timm")
    rows = table([WORKS]).splitlines()
    assert {row.count("|") for row in rows[:3]} == {9}


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{END}{END}"])
def test_page_without_markers_is_unchanged(text, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="Expected a page with <!-- families: begin -->"):
        put_table(page, [WORKS])
    assert page.read_text() == text


def test_interrupted_command_resumes(tmp_path, monkeypatch, capsys):
    tried = []

    def attempt(family):
        tried.append(family)
        if family == "levit" and len(tried) == 2:
            raise KeyboardInterrupt
        return dataclasses.replace(WORKS, family=family)

    monkeypatch.setattr(command, "try_family", attempt)
    page, journal = tmp_path / "page.md", tmp_path / "families.jsonl"
    page.write_text(f"{BEGIN}\n{END}\n")
    words = ["--families", "cait", "levit", "--journal", str(journal), "--output", str(page)]
    with pytest.raises(KeyboardInterrupt):
        main(words)
    assert read_table(page.read_text()) == {}
    main(words)
    assert tried == ["cait", "levit", "levit"]
    assert read_table(page.read_text()) == {"cait": "works", "levit": "works"}
    assert "tried: 2 work" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--families", "cate"])
    assert "timm has no family cate" in capsys.readouterr().err


def test_missing_page_raises_before_any_work(tmp_path, capsys):
    page, journal = tmp_path / "page.md", tmp_path / "journal.jsonl"
    with pytest.raises(SystemExit):
        main(["--families", "vgg", "--output", str(page), "--journal", str(journal)])
    assert f"no {page}" in capsys.readouterr().err
    assert not journal.exists()
