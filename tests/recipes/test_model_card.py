"""What a release keeps of a run: only with the command that trains that very model."""

from __future__ import annotations

import re
import shlex

import pytest
from model_card import add_model_card as keep_model
from model_card import check_training_command

from egat_hub.core.results import read_rows
from egat_hub.hub import from_pretrained
from egat_hub.hub import layout as known
from egat_hub.hub.layout import CARD, MANIFEST
from egat_hub.hub.manifest import Manifest
from egat_hub.hub.zoo import list_models, model_info
from tests.experiments.tiny import TINY, call_vlcs

COMMAND = shlex.join(["accelerate", "launch", "recipes/vlcs.py", *TINY])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    output = tmp_path_factory.mktemp("kept") / "out"
    call_vlcs(output)
    return next(output.glob("erm_*"))


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """A folder of cards in place of the package's own."""
    monkeypatch.setattr(known, "CARDS", tmp_path)
    return tmp_path


def test_model_without_weights_is_listed_and_loading_names_its_command(run, cards):
    keep_model(run, cards / "tiny", command=COMMAND)
    assert {path.name for path in (cards / "tiny").iterdir()} == {
        *("README.md", "case_study.png", "config.json", "egat.json", "results.json", "zoo.json")
    }
    assert list_models() == ["tiny"]
    info = model_info("tiny")
    assert (info.location, info.timm_name) == ("not published", "test_resnet.erm_synthetic")
    assert list(info.rows) == read_rows(run / "model/results.json")
    with pytest.raises(FileNotFoundError, match=rf"tiny are not published.*{re.escape(COMMAND)}"):
        from_pretrained("tiny")
    with pytest.raises(FileNotFoundError, match="Did you mean 'tiny'"):
        from_pretrained("tinny")
    assert COMMAND in (cards / "tiny" / CARD).read_text()


def test_weights_are_copied_on_request(run, cards, monkeypatch, tmp_path):
    keep_model(run, cards / "tiny", command=COMMAND)
    keep_model(run, cards / "tiny", command=COMMAND, weights=True)
    assert from_pretrained("tiny").label_names == from_pretrained(run / "model").label_names
    assert model_info("tiny").location == "local"
    assert 'egat_hub.from_pretrained("tiny")' in (cards / "tiny" / CARD).read_text()


def test_a_published_model_is_fetched_at_its_commit(run, cards, monkeypatch):
    keep_model(run, cards / "tiny", command=COMMAND, repo_id="org/dog", revision="a" * 40)
    asked = []

    def download(repo_id, _, *, revision, **__):
        asked.append((repo_id, revision))
        return run / "model"

    monkeypatch.setattr("egat_hub.hub.loading.download", download)
    assert from_pretrained("tiny").metadata["method"] == "erm"
    assert asked == [("org/dog", "a" * 40)]
    assert model_info("tiny").location == "Hub"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"command": "python train.py"}, "Expected 'accelerate launch recipes"),
        ({"command": COMMAND.replace("--seeds 0", "--seeds 1")}, "Closest: seed 1, not 0"),
        ({"command": f"{COMMAND} --train.lr 0.5"}, r"train.lr 0.5, not 0.001"),
        ({"command": f"{COMMAND} --methods egat"}, "method 'egat', not 'erm'"),
        ({"command": f"{COMMAND} --data.synthetic_seed 7"}, "data.synthetic_seed 7, not 0"),
        ({"repo_id": "org/dog"}, "40 digits of its commit"),
        ({"revision": "a" * 40}, "40 digits of its commit"),
    ],
)
def test_mismatched_models_raise(run, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        keep_model(run, tmp_path / "tiny", **{"command": COMMAND, **changes})
    assert not (tmp_path / "tiny").exists()


def test_invalid_names_and_folders_raise(run, tmp_path):
    with pytest.raises(ValueError, match="Expected a name"):
        keep_model(run, tmp_path / "a model", command=COMMAND)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        keep_model(run, tmp_path / "mine", command=COMMAND)


def test_missing_config_fields_take_their_defaults(run):
    metadata = dict(Manifest.read(run / "model" / MANIFEST).metadata)
    metadata["train"] = {key: value for key, value in metadata["train"].items() if key != "ema_decay"}
    check_training_command(COMMAND, metadata)
    with pytest.raises(ValueError, match="have no data"):
        check_training_command(COMMAND, {key: value for key, value in metadata.items() if key != "data"})
    with pytest.raises(ValueError, match=r"train\.ema_decay 0\.9, not None"):
        check_training_command(f"{COMMAND} --train.ema_decay 0.9", metadata)
