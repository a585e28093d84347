"""Fine-tuning from end to end: the head, results before and after, and resuming."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest
import torch

from egat_hub.core.results import read_rows
from egat_hub.data import DataConfig, EvaluationView, open_dataset
from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.experiments import finetuning, runner
from egat_hub.experiments.finetuning import finetune, prepare
from egat_hub.hub import from_pretrained
from egat_hub.models import ModelConfig
from egat_hub.training import FinetuneConfig
from tests.experiments.conftest import KNOWN, OLD, SIZE, save_base, write_images

MEASURED = EvaluationConfig(attack_options={"steps": 2}, checks=0)
COLUMNS = ("clean_accuracy", "robust_accuracy", "comprehensiveness", "sufficiency")


def measured(model, domain):
    """Values of the four metrics, by the function that evaluates any model."""
    rows = evaluate(from_pretrained(model), EvaluationView(domain, "test", image_size=SIZE), MEASURED)
    mine = {row.metric: row.value for row in rows if row.protocol.get("map", "model") == "model"}
    return [mine.get(metric) for metric in COLUMNS]


def shown(line):
    return [line[column] for column in COLUMNS]


def test_new_classes_get_a_new_head(finetune_options, base, pets, tmp_path):
    tuned = finetune(finetune_options())
    model = from_pretrained(tuned.model)
    assert model.label_names == ("cat", "dog", "owl")
    metadata = model.metadata
    assert (metadata["method"], metadata["train_domain"]) == ("egat", "pets")
    assert metadata["finetune"]["head_warmup"] == 0
    assert metadata["base_model"] == metadata["model"]["name"] == "test_resnet.erm_synthetic"
    assert metadata["base"]["head"] == "new"
    lines = tuned.table.data()
    old, new = open_dataset(OLD)["meadow"], open_dataset(DataConfig("folder", str(pets)))["pets"]
    assert shown(lines[0]) == pytest.approx(measured(base, old))
    assert shown(lines[1]) == shown(lines[2]) == [None] * 4
    assert shown(lines[3]) == pytest.approx(measured(tuned.model, new))
    assert "0 of the 3 classes are among the old 5" in lines[1]["missing"]
    text = (tmp_path / "run/before_after.md").read_text()
    assert "after on the old domain: the head is new" in text
    assert "started from the weights `test_resnet.erm_synthetic`" in (tuned.model / "README.md").read_text()
    rows = {row.metric: row.value for row in read_rows(tuned.model / "results.json")}
    assert rows["clean_accuracy"] == lines[3]["clean_accuracy"]
    written = list(csv.DictReader((tmp_path / "run/before_after.csv").read_text().splitlines()))
    assert {(line["model"], line["domain"]) for line in written} == {("before", "old"), ("after", "new")}
    assert any("epsilon 0.01" in line["protocol"] for line in written if line["metric"] == "robust_accuracy")


def test_known_classes_keep_their_head_in_the_order_of_the_data(finetune_options, tmp_path):
    order = KNOWN[::-1]
    base = save_base(tmp_path / "reversed", labels=order)
    shapes = write_images(tmp_path / "shapes", *KNOWN)
    assert sorted(KNOWN) != list(order)
    data = DataConfig("folder", str(shapes))
    options = finetune_options(source=str(base), data=data, train={"lr": 1e-9})
    assert prepare(options).config.finetune.head_warmup == 0
    tuned = finetune(options)
    assert from_pretrained(tuned.model).label_names == tuple(sorted(KNOWN))
    lines = tuned.table.data()
    assert not any(line["missing"] for line in lines)
    old, new = open_dataset(OLD)["meadow"], open_dataset(data)["shapes"]
    before = measured(base, old.ordered(order)), measured(base, new.ordered(order))
    assert [shown(line) for line in lines[:2]] == [pytest.approx(found) for found in before]
    # a learning rate of next to nothing changes no result
    assert [shown(line) for line in lines[2:]] == [pytest.approx(found, abs=0.1) for found in before]


def test_the_same_command_again_trains_and_measures_nothing(finetune_options, monkeypatch):
    first = finetune(finetune_options())
    for module, name in (
        (runner, "train"),
        (runner, "evaluate_per_image"),
        (finetuning, "evaluate_per_image"),
    ):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("done again"))
    assert finetune(finetune_options()) == first


def test_an_interrupted_run_resumes(finetune_options, tmp_path, monkeypatch):
    whole = finetune(finetune_options())
    with monkeypatch.context() as patched:
        patched.setattr(runner, "save_pretrained", None)
        with pytest.raises(TypeError):
            finetune(finetune_options(output=tmp_path / "parts"))
    assert json.loads((tmp_path / "parts/config.json").read_text())["run"]["weights"]
    parts = finetune(finetune_options(output=tmp_path / "parts"))
    assert parts.table.csv() == whole.table.csv()
    first, second = (from_pretrained(tuned.model).state_dict() for tuned in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_network_without_a_map_is_trained_without_one(finetune_options, tmp_path):
    flat = save_base(tmp_path / "flat", "test_vit", img_size=SIZE, depth=0)
    options = finetune_options(source=str(flat))
    with pytest.warns(UserWarning, match=r"by pgd_at instead of egat.*: pgd_at, trades"):
        assert prepare(options).config.method == "pgd_at"
    with pytest.raises(ValueError, match=r"not defined there.*Methods that need no map: pgd_at, trades"):
        prepare(replace(options, method="egat"))
    with pytest.warns(UserWarning, match="by pgd_at instead of egat"):
        lines = finetune(options).table.data()
    assert lines[3]["clean_accuracy"] is not None
    assert lines[3]["comprehensiveness"] is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train": {"steps": 50}}, 5),
        ({"train": {"steps": 50}, "finetune": FinetuneConfig(head_warmup=7)}, 7),
        ({"train": {"steps": 50}, "finetune": FinetuneConfig(freeze_backbone=True), "method": "trades"}, 0),
    ],
)
def test_a_new_head_is_warmed_up(finetune_options, changes, expected):
    assert prepare(finetune_options(**changes)).config.finetune.head_warmup == expected


def test_a_frozen_backbone_with_maps_that_have_no_effect(finetune_options):
    with pytest.warns(UserWarning, match=r"Set --egat.head_grad true"):
        prepare(finetune_options(finetune=FinetuneConfig(freeze_backbone=True)))


def test_weights_of_timm_are_a_run_like_any_other(finetune_options, base):
    options = finetune_options(source=f"local-dir:{base}")
    prepared = prepare(replace(options, data=replace(options.data, image_size=SIZE)))
    assert prepared.saved is None
    lines = finetune(prepared.options).table.data()
    assert "do not contain its training data" in lines[0]["missing"]
    assert "has no class names" in lines[1]["missing"]
    assert lines[3]["clean_accuracy"] is not None


def test_options_of_timm_are_refused_for_a_saved_model(finetune_options, base):
    with pytest.raises(ValueError, match="is a saved model; model"):
        prepare(finetune_options(model=ModelConfig(name=str(base), options={"output_stride": 8})))
