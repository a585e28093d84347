"""Publishing on the Hub, by the real client."""

from __future__ import annotations

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch
from huggingface_hub import ModelCard
from matplotlib.figure import Figure
from timm.data import resolve_model_data_config

from egat_hub.core.results import Row, write_rows
from egat_hub.hub import from_pretrained, push_to_hub
from egat_hub.hub.cards import is_headline
from tests.helpers.local_hub import GUEST
from tests.hub.conftest import LABELS, METADATA, ROWS, images, row

FILES = ["config.json", "model.safetensors", "egat.json", "results.json", "README.md"]


@torch.no_grad()
def test_pushed_model_gives_equal_logits_after_download(hub, small_model, tmp_path):
    commit = push_to_hub(small_model, "org/dog", commit_message="First")
    assert set(hub.model("org/dog").files()) - {".gitattributes"} == set(FILES)
    assert commit.oid == hub.model("org/dog").refs["main"]
    assert hub.model("org/dog").messages == ["initial commit", "First"]
    expected = from_pretrained(small_model)
    loaded = from_pretrained("org/dog", cache_dir=tmp_path / "elsewhere")
    assert torch.equal(loaded(images()), expected(images()))
    assert (loaded.label_names, loaded.metadata) == (LABELS, METADATA)
    net = timm.create_model("hf-hub:org/dog", pretrained=True).eval()
    config = resolve_model_data_config(net)
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    assert torch.equal(net((images() - mean) / std), expected(images()))
    assert tuple(net.pretrained_cfg["label_names"]) == LABELS


def test_the_card_on_the_hub_says_how_to_load_from_there(hub, small_model):
    push_to_hub(small_model, "org/dog")
    text = hub.model("org/dog").files()["README.md"].content.decode()
    assert 'egat_hub.from_pretrained("org/dog")' in text
    assert 'timm.create_model("hf-hub:org/dog", pretrained=True)' in text
    assert {result.metric_value for result in ModelCard(text).data.eval_results} == {91.5, 47.25, 63.0}
    assert "egat_hub" in ModelCard(text).data.tags


def test_second_push_uploads_only_changes(hub, small_model, tmp_path):
    first = push_to_hub(small_model, "org/dog")
    assert push_to_hub(small_model, "org/dog").oid == first.oid
    folder = shutil.copytree(small_model, tmp_path / "measured_again")
    write_rows(folder / "results.json", [*ROWS[1:], row("clean_accuracy", 92.5)])
    hub.arm()
    push_to_hub(folder, "org/dog")
    assert not any(request.startswith("PUT /lfs") for request in hub.requests), "weights were sent again"
    assert hub.model("org/dog").messages == ["initial commit", "Add dog", "Update dog"]
    card = hub.model("org/dog").files()["README.md"].content
    assert b"92.50" in card
    assert b"91.50" not in card


def test_loaded_model_is_pushed_with_its_results(hub, small_model):
    figure = Figure()
    figure.subplots().plot([0, 1])
    from_pretrained(small_model).push_to_hub("org/dog", figures={"case_study": figure}, private=True)
    files = hub.model("org/dog").files()
    assert set(files) - {".gitattributes"} == {*FILES, "case_study.png"}
    assert hub.model("org/dog").private
    assert files["results.json"].content == (small_model / "results.json").read_bytes()
    assert "](case_study.png)" in files["README.md"].content.decode()


def test_results_of_a_changed_model_are_not_pushed(hub, small_model):
    model = from_pretrained(small_model)
    torch.nn.init.normal_(model.model.classifier.weight)
    model.push_to_hub("org/dog")
    assert json.loads(hub.model("org/dog").files()["results.json"].content) == []
    model.push_to_hub("org/dog", rows=ROWS[:1])
    assert len(json.loads(hub.model("org/dog").files()["results.json"].content)) == 1


def test_push_the_folder_of_a_run(hub, small_model, tmp_path):
    shutil.copytree(small_model, tmp_path / "run" / "model")
    (tmp_path / "run" / "config.json").write_text("{}")
    assert push_to_hub(tmp_path / "run", "org/dog").oid


def test_branches_and_pull_requests(hub, small_model, tmp_path):
    base = push_to_hub(small_model, "org/dog")
    folder = shutil.copytree(small_model, tmp_path / "model")
    write_rows(folder / "results.json", ROWS[:1])
    branch = push_to_hub(folder, "org/dog", revision="next")
    assert hub.model("org/dog").refs["main"] == base.oid
    assert hub.model("org/dog").refs["next"] == branch.oid
    assert from_pretrained("org/dog@next").label_names == LABELS
    proposed = push_to_hub(folder, "org/dog", create_pr=True, token=GUEST)
    assert proposed.pr_url.endswith("/org/dog/discussions/1")
    assert hub.model("org/dog").refs["main"] == base.oid
    assert from_pretrained("org/dog@refs/pr/1").label_names == LABELS


def test_private_models(hub, small_model, tmp_path):
    push_to_hub(small_model, "org/secret", private=True)
    assert hub.model("org/secret").private
    assert from_pretrained("org/secret", cache_dir=tmp_path / "a").label_names == LABELS
    for token in (GUEST, False):
        with pytest.raises(FileNotFoundError, match=r"no such model, or it is private.*hf auth login"):
            from_pretrained("org/secret", cache_dir=tmp_path / "b", token=token)
    with pytest.raises(PermissionError, match=r"right.*write access"):
        push_to_hub(small_model, "org/secret", token=GUEST)


def test_missing_token_or_permission_raises(hub, small_model, monkeypatch):
    for token in (False, GUEST):
        with pytest.raises(PermissionError, match="Cannot push to org/dog: "):
            push_to_hub(small_model, "org/dog", token=token)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PermissionError, match="no token on this machine"):
        push_to_hub(small_model, "org/dog", token=True)
    assert not hub.store.repositories


def test_repository_of_another_kind_raises(hub, small_model):
    hub.upload("model", "org/gpt", {"pytorch_model.bin": b"x", "README.md": b"# Mine"})
    with pytest.raises(FileExistsError, match=r"else than a model of egat_hub \(pytorch_model\.bin\)"):
        push_to_hub(small_model, "org/gpt")
    assert hub.model("org/gpt").messages == ["upload"]
    assert push_to_hub(small_model, "org/gpt", create_pr=True).pr_url


@pytest.mark.parametrize("name", ["dog", "org/dog/cat", "../dog", "org/..", "org/a b", ""])
def test_invalid_names_raise(hub, small_model, name):
    with pytest.raises(ValueError, match="Expected org/name"):
        push_to_hub(small_model, name)
    assert hub.requests == []


def test_invalid_folders_are_not_published(hub, small_model, tmp_path):
    folder = shutil.copytree(small_model, tmp_path / "model")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 0x40
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="does not compute what was saved"):
        push_to_hub(folder, "org/dog")
    shutil.copy(small_model / "model.safetensors", folder)
    (folder / "results.json").write_text(
        json.dumps([{**json.loads((folder / "results.json").read_text())[0], "model": "vgg11"}])
    )
    with pytest.raises(ValueError, match="results of its own model only"):
        push_to_hub(folder, "org/dog")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        push_to_hub(tmp_path / "no_such", "org/dog")
    assert not hub.store.repositories


def test_concurrent_first_pushes(hub, small_model, tmp_path):
    """Both make the repository, both commit; what is there in the end is one of the two models, whole."""
    other = shutil.copytree(small_model, tmp_path / "model")
    write_rows(other / "results.json", ROWS[:1])
    meeting = threading.Barrier(2, timeout=20)

    def meet(request: str) -> None:
        if request.startswith("POST /api/repos/create"):
            meeting.wait()

    hub.on_request = meet
    with ThreadPoolExecutor(2) as pool:
        pushes = [pool.submit(push_to_hub, folder, "org/dog") for folder in (small_model, other)]
        commits = {push.result().oid for push in pushes}
    assert hub.model("org/dog").refs["main"] in commits
    assert len(hub.model("org/dog").messages) == 3
    results = [(folder / "results.json").read_bytes() for folder in (small_model, other)]
    files = hub.model("org/dog").files()
    assert files["results.json"].content in results
    shown = len(ModelCard(files["README.md"].content.decode()).data.eval_results)
    assert shown == sum(is_headline(Row(**row)) for row in json.loads(files["results.json"].content))
