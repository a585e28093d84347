"""Commands that take models: list, card, evaluate, pull and push."""

from __future__ import annotations

import re
import shutil

import pytest

from egat_hub.core.results import read_rows
from egat_hub.data import DataConfig, EvaluationView, open_dataset
from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.hub import from_pretrained, push_to_hub
from egat_hub.hub.layout import shipped_models

DATA = ("--data.synthetic_size", 15)
QUICK = ("--evaluation.explanation", "null", "--evaluation.checks", 0, "--evaluation.attack_options.steps", 2)


def test_list_filters_saved_models(call, small_model, synthetic_model):
    places = (small_model.parent, synthetic_model)
    assert {entry["name"] for entry in call("list", *places, "--json").data} == {
        str(small_model),
        str(synthetic_model),
    }
    (entry,) = call("list", *places, "--epsilon", 0.01, "--json").data
    assert (entry["name"], entry["method"], entry["results"]) == (str(small_model), "egat", 3)
    assert "No model matches" in call("list", *places, "--method", "trades").err


def test_a_leaderboard_of_saved_models(call, small_model):
    called = call("list", small_model, "--leaderboard", "--json")
    figures = called.data[0]["figures"]
    assert figures["robust accuracy, attack pgd, epsilon 0.01, steps 10, restarts 1"]["mean"] == 47.25
    assert "47.25" in call("list", small_model, "--leaderboard", "--by", "clean_accuracy").out


def test_list_queries_the_hub_on_request_only(call, hub, small_model):
    call("push", small_model, "org/dog")
    asked = len(hub.requests)
    known = call("list", "--json").data
    assert len(hub.requests) == asked
    (entry,) = (entry for entry in call("list", "--hub", "--json").data if entry not in known)
    assert (entry["name"], entry["weights"]) == ("org/dog", "Hub")


def test_list_shows_the_models_of_this_release(call):
    found = {entry["name"]: entry["weights"] for entry in call("list", "--json").data}
    assert found["synthetic-tiny"] == "local"
    assert set(found) == set(shipped_models())
    board = call("list", "--leaderboard", "--dataset", "synthetic", "--json").data
    assert {"synthetic-tiny"} <= {line["model"] for line in board}


def test_card_prints_the_card_of_the_model(call, small_model, tmp_path):
    called = call("card", small_model)
    assert called.out == (small_model / "README.md").read_text() + "\n"
    run = tmp_path / "run"
    shutil.copytree(small_model, run / "model")
    assert call("card", run, "--output", tmp_path / "card.md", "--repo-id", "org/dog").code == 0
    assert "org/dog" in (tmp_path / "card.md").read_text()


def test_evaluate_gives_the_rows_of_the_function(call, synthetic_model, tmp_path):
    words = (*DATA, *QUICK, "--epsilons", 0.01, 0.03, "--images", 6, "--split", "all")
    called = call("evaluate", synthetic_model, *words, "--output", tmp_path / "rows.json", "--json")
    assert called.code == 0, called.err
    domain = open_dataset(DataConfig(synthetic_size=15), ["meadow"])["meadow"]
    expected = evaluate(
        from_pretrained(synthetic_model),
        EvaluationView(domain, "all", image_size=32).drawn(6),
        EvaluationConfig(epsilons=(0.01, 0.03), attack_options={"steps": 2}, explanation=None, checks=0),
        method="erm",
        train_domain="meadow",
        seed=3,
    )
    assert read_rows(tmp_path / "rows.json") == expected
    assert [row["value"] for row in called.data] == [row.value for row in expected]
    text = call("evaluate", synthetic_model, *words).out
    assert max(map(len, text.splitlines()[1:])) <= 80
    assert re.search(r"^robust accuracy +pgd +0\.03 +\d+\.\d$", text, re.MULTILINE)


def test_an_evaluation_does_not_start_if_its_output_cannot_be_written(refused, synthetic_model, tmp_path):
    refused(
        "existing folder for --output", "evaluate", synthetic_model, "--output", tmp_path / "no/rows.json"
    )


def test_evaluate_takes_its_options_from_a_file(call, synthetic_model, tmp_path):
    (tmp_path / "options.yaml").write_text(
        "data: {synthetic_size: 15}\nevaluation: {epsilons: [], explanation: null}\nimages: 4\n"
    )
    called = call("evaluate", synthetic_model, "--config", tmp_path / "options.yaml", "--json")
    assert [(row["metric"], row["n"]) for row in called.data] == [("clean_accuracy", 4)]


def test_push_and_pull(call, hub, small_model, tmp_path):
    pushed = call("push", small_model, "org/dog", "--private", "--message", "First", "--json")
    assert pushed.data["commit"] == hub.model("org/dog").refs["main"]
    pulled = call("pull", "org/dog", "--output", tmp_path / "dog", "--json")
    assert pulled.data["commit"] == pushed.data["commit"]
    assert read_rows(tmp_path / "dog/results.json") == read_rows(small_model / "results.json")
    assert from_pretrained(tmp_path / "dog").label_names == ("dog", "cat", "owl")
    assert "org/dog" in (tmp_path / "dog/README.md").read_text()
    assert call("pull", "org/dog", "--output", tmp_path / "dog").code == 0


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        ("list nowhere", "found none at nowhere"),
        ("list {} --hub", "ask for one at a time"),
        ("list {} --leaderboard --by", None),
        ("card {}/..", "found no egat.json"),
        ("evaluate {} --epsilons 8", "8/255 is 0.0314"),
        ("evaluate {} --images 0", "--images of at least 1"),
        ("evaluate {} --data.synthetic_size 15", "Expected images of dog, cat, owl"),
        ("evaluate {} --data sinthetic", "Did you mean 'synthetic'"),
        ("evaluate {} --data synthetic --domain medow", "Did you mean 'meadow'"),
        ("evaluate nobody", "which does not exist"),
        ("evaluate synthetic_tiny", "Did you mean 'synthetic-tiny'"),
        ("push {}/.. org/dog", "egat.json"),
        ("push {} dog", "Expected org/name"),
        ("pull dog", "Expected org/name"),
    ],
)
def test_invalid_arguments_exit_with_an_error(call, refused, small_model, words, pattern):
    given = words.format(small_model).split()
    if pattern is None:
        assert call(*given).code == 2
    else:
        refused(pattern, *given)


def test_failed_pull_does_not_change_the_folder(refused, hub, small_model, tmp_path):
    refused("org/nothing", "pull", "org/nothing", "--output", tmp_path / "model")
    assert not (tmp_path / "model").exists()
    (tmp_path / "mine.txt").write_text("keep")
    push_to_hub(small_model, "org/dog")
    refused("mine.txt", "pull", "org/dog", "--output", tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"
