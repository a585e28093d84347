"""Fine-tuning from end to end: the head, the figures before and after, and going on."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from egat_hub.core.results import read_rows
from egat_hub.data import DataConfig, EvaluationView, open_dataset
from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.experiments import cell
from egat_hub.experiments.finetuning import Ready, prepare
from egat_hub.experiments.finetuning_run import run
from egat_hub.hub import from_pretrained
from tests.experiments.conftest import KNOWN, OLD, SIZE, save_base, write_images

MEASURED = EvaluationConfig(attack_options={"steps": 2}, checks=0)


def measured(model, domain):
    """Values of the four metrics, by the function that evaluates any model."""
    rows = evaluate(from_pretrained(model), EvaluationView(domain, "test", image_size=SIZE), MEASURED)
    mine = {row.metric: row.value for row in rows if row.protocol.get("map", "model") == "model"}
    return [
        mine.get(metric)
        for metric in ("clean_accuracy", "robust_accuracy", "comprehensiveness", "sufficiency")
    ]


def figures(line):
    return [line[column] for column in ("clean", "robust", "comprehensiveness", "sufficiency")]


def test_new_classes_get_a_new_head(request_of, base, pets, tmp_path):
    tuned = run(prepare(request_of()))
    model = from_pretrained(tuned.model)
    assert model.label_names == ("cat", "dog", "owl")
    told = model.metadata
    assert (told["method"], told["train_domain"], told["transfer"]["head_warmup"]) == ("egat", "pets", 0)
    assert told["base_model"] == "test_resnet.erm_synthetic"
    assert told["base"]["head"] == "new"
    lines = tuned.table.data()
    old, new = open_dataset(OLD)["meadow"], open_dataset(DataConfig("folder", str(pets)))["pets"]
    assert figures(lines[0]) == pytest.approx(measured(base, old))
    assert figures(lines[1]) == figures(lines[2]) == [None] * 4
    assert figures(lines[3]) == pytest.approx(measured(tuned.model, new))
    assert "0 of the 3 classes are among the old 5" in lines[1]["missing"]
    text = (tmp_path / "run/before_after.md").read_text()
    assert "after on the old domain: the head is new" in text
    assert "started from the weights `test_resnet.erm_synthetic`" in (tuned.model / "README.md").read_text()
    rows = {row.metric: row.value for row in read_rows(tuned.model / "results.json")}
    assert rows["clean_accuracy"] == lines[3]["clean"]
    written = list(csv.DictReader((tmp_path / "run/before_after.csv").read_text().splitlines()))
    assert {(line["model"], line["domain"]) for line in written} == {("before", "old"), ("after", "new")}
    assert any("epsilon 0.01" in line["protocol"] for line in written if line["metric"] == "robust_accuracy")


def test_known_classes_keep_their_head_in_the_order_of_the_data(request_of, tmp_path):
    order = KNOWN[::-1]
    base = save_base(tmp_path / "reversed", labels=order)
    shapes = write_images(tmp_path / "shapes", *KNOWN)
    assert sorted(KNOWN) != list(order)
    data = DataConfig("folder", str(shapes))
    ready = prepare(request_of(model=str(base), data=data, train={"lr": 1e-9}))
    assert ready.cell.tuning.head_warmup == 0
    tuned = run(ready)
    assert from_pretrained(tuned.model).label_names == tuple(sorted(KNOWN))
    lines = tuned.table.data()
    assert not any(line["missing"] for line in lines)
    old, new = open_dataset(OLD)["meadow"], open_dataset(data)["shapes"]
    before = measured(base, old.ordered(order)), measured(base, new.ordered(order))
    assert [figures(line) for line in lines[:2]] == [pytest.approx(found) for found in before]
    # a learning rate of next to nothing leaves every figure as it was
    assert [figures(line) for line in lines[2:]] == [pytest.approx(found, abs=0.1) for found in before]


def test_the_same_command_again_trains_and_measures_nothing(request_of, monkeypatch):
    first = run(prepare(request_of()))
    for place in (
        f"{cell.__name__}.train",
        f"{cell.__name__}.evaluate_per_image",
        "egat_hub.experiments.finetuning_run.evaluate_per_image",
    ):
        monkeypatch.setattr(place, lambda *_, **__: pytest.fail("done again"))
    assert run(prepare(request_of())) == first


def test_a_run_that_was_stopped_goes_on(request_of, tmp_path, monkeypatch):
    whole = run(prepare(request_of()))
    with monkeypatch.context() as patched:
        patched.setattr(cell, "save_pretrained", None)
        with pytest.raises(TypeError):
            run(prepare(request_of(output=tmp_path / "parts")))
    assert json.loads((tmp_path / "parts/config.json").read_text())["keeps_head"] is False
    parts = run(prepare(request_of(output=tmp_path / "parts")))
    assert parts.table.csv() == whole.table.csv()
    first, second = (from_pretrained(tuned.model).state_dict() for tuned in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_network_without_a_map_is_trained_without_one(request_of, tmp_path):
    flat = save_base(tmp_path / "flat", "test_vit", img_size=SIZE, depth=0)
    with pytest.warns(UserWarning, match=r"by pgd_at instead of egat.*: pgd_at, trades"):
        ready = prepare(request_of(model=str(flat)))
    assert ready.cell.variant.method == "pgd_at"
    with pytest.raises(ValueError, match=r"not defined there.*Methods that need no map: pgd_at, trades"):
        prepare(request_of(model=str(flat), method="egat"))
    lines = run(ready).table.data()
    assert lines[3]["clean"] is not None
    assert lines[3]["comprehensiveness"] is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train": {"steps": 50}}, 5),
        ({"train": {"steps": 50}, "head_warmup": 7}, 7),
        ({"train": {"steps": 50}, "freeze_backbone": True, "method": "trades"}, 0),
    ],
)
def test_a_new_head_is_warmed_up(request_of, changes, expected):
    ready: Ready = prepare(request_of(**changes))
    assert ready.cell.tuning.head_warmup == expected


def test_a_frozen_backbone_with_maps_that_train_nothing(request_of):
    with pytest.warns(UserWarning, match=r"Give --options.head_grad true"):
        prepare(request_of(freeze_backbone=True))
