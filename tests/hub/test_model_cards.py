"""The models that this release knows: command, weights, results and card say the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
from huggingface_hub import ModelCard
from model_card import check_training_command

from egat_hub.core.config import from_dict
from egat_hub.core.results import Row
from egat_hub.data import DataConfig, EvaluationView, open_dataset
from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.hub import from_pretrained
from egat_hub.hub.cards import card_text, is_headline
from egat_hub.hub.layout import (
    CARD,
    CONFIG,
    MANIFEST,
    RESULTS,
    WEIGHTS,
    ZooEntry,
    is_figure,
    read_results,
    shipped_models,
)
from egat_hub.hub.manifest import Manifest
from egat_hub.hub.tables import LATENT, protocol_text
from egat_hub.hub.timm_files import NetworkConfig
from egat_hub.hub.zoo import find_models
from egat_hub.metrics import METRICS

ROOT = Path(__file__).parents[2]
MAX_WEIGHTS = 2_000_000
"""Bytes of a model that ships with the package, all of its files together."""

FOLDERS = shipped_models()
every = pytest.mark.parametrize("folder", FOLDERS.values(), ids=FOLDERS)
SHIPPED = [name for name, folder in FOLDERS.items() if (folder / WEIGHTS).exists()]


def card(folder: Path) -> str:
    return (folder / CARD).read_text(encoding="utf-8")


def tables(text: str) -> Iterator[list[list[str]]]:
    """The Markdown tables of a text, as cells."""
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        yield [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in block.strip().splitlines()
        ]


def stated(text: str) -> Iterator[tuple[str, ...]]:
    """Every figure of a card's results as (metric, domains, split, value, n, seed), with its line in full."""
    for head, _, *lines in tables(text.split("## Results")[1].split("\n## ")[0]):
        first, last = head.index("split") + 1, head.index("n")
        for line in lines:
            for column in range(first, last):
                for value in line[column].split(", "):
                    if value != "-":
                        yield (*line[:3], value, line[last], line[last + 1], f"{head[column]}, {line[-1]}")


def measured(row: Row) -> tuple[str, ...]:
    return (
        row.metric,
        f"{row.train_domain} -> {row.test_domain}",
        row.split,
        f"{row.value:.2f}",
        str(row.n),
        str(row.seed),
    )


def numbers(text: str) -> set[str]:
    """Numbers in the prose of a card: neither in tables nor in code."""
    prose = re.sub(r"^```.*?^```|^\|.*|`[^`]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    return set(re.findall(r"\d+(?:\.\d+)?", prose))


def test_at_least_one_model_is_shipped():
    assert FOLDERS
    names = [info.timm_name for info in find_models()]
    assert len(set(names)) == len(names)


@every
def test_shipped_files_are_valid(folder, monkeypatch):
    manifest, config = Manifest.read(folder / MANIFEST), NetworkConfig.read(folder / CONFIG)
    rows, entry = read_results(folder / RESULTS), ZooEntry.read(folder)
    assert len(manifest.label_names) == config.num_classes
    assert config.label_names == list(manifest.label_names)
    assert rows
    assert {(row.method, row.dataset, row.seed) for row in rows} == {
        tuple(manifest.metadata[key] for key in ("method", "dataset", "seed"))
    }
    assert bool(entry.repo_id) == bool(re.fullmatch("[0-9a-f]{40}", entry.revision))
    if manifest.metadata["dataset"] != "synthetic":
        assert not [path for path in folder.iterdir() if is_figure(path.name)], "images of a data set"
    monkeypatch.chdir(ROOT)
    check_training_command(entry.command, manifest.metadata)


@every
def test_card_equals_the_one_rendered_from_its_files(folder):
    assert (folder / CARD).read_text(encoding="utf-8") == card_text(folder)


@every
def test_hub_library_parses_card_and_results(folder, tmp_path):
    rows = read_results(folder / RESULTS)
    data = ModelCard.load(folder / CARD).data
    found = Counter(
        (r.metric_name, r.metric_value, r.metric_args["n"], r.metric_args["seed"], r.dataset_config)
        for r in data.eval_results
    )
    expected = Counter()
    for row in filter(is_headline, rows):
        domains = f"{row.train_domain} -> {row.test_domain}"
        config = f"{domains}; {protocol_text(row.protocol)}" if row.protocol else domains
        expected[row.metric, round(row.value, 4), row.n, row.seed, config] += 1
    assert found == expected
    assert (data.library_name, data.pipeline_tag) == ("timm", "image-classification")


@every
def test_numbers_in_the_tables_are_in_the_results(folder):
    rows, found = read_results(folder / RESULTS), list(stated(card(folder)))
    assert Counter(figure[:-1] for figure in found) == Counter(map(measured, rows))
    for row in rows:
        lines = [figure[-1] for figure in found if figure[:-1] == measured(row)]
        settings = [protocol_text({key: value}) for key, value in row.protocol.items()]
        assert any(all(setting in line for setting in settings) for line in lines)


@every
def test_text_has_no_other_numbers(folder):
    body = card(folder).split("\n---\n", 1)[1]
    template = (folder.parent / "template.md").read_text(encoding="utf-8")
    config, manifest = NetworkConfig.read(folder / CONFIG), Manifest.read(folder / MANIFEST)
    notes = [LATENT.about, *(f"{metric.section.about} {metric.meaning}" for metric in METRICS.values())]
    allowed = numbers(template) | numbers(" ".join(notes))
    allowed |= {str(config.num_classes), str(manifest.fingerprint.image_size)}
    allowed |= numbers(f"{folder.name} {config.pretrained_cfg.get('license')}")
    assert numbers(body) <= allowed


@every
def test_the_card_reads_well(folder):
    body = card(folder).split("\n---\n", 1)[1]
    assert body.strip().startswith(f"# {folder.name}\n")
    assert not re.search(r"\{[{%]|\n{4}|None of|path/to/None", body)
    for head, rule, *lines in tables(body):
        assert set("".join(rule)) <= {"-", ":"}
        assert {len(line) for line in lines} == {len(head)}
    for text, target in re.findall(r"!\[(.*?)\]\((.*?)\)", body):
        assert text
        assert (folder / target).is_file()


@pytest.mark.parametrize(
    "name", [name for name, folder in FOLDERS.items() if not (folder / WEIGHTS).exists()]
)
def test_loading_without_weights_names_the_command(name):
    entry = ZooEntry.read(FOLDERS[name])
    if not entry.repo_id:
        with pytest.raises(FileNotFoundError, match="are not published") as caught:
            from_pretrained(name)
        assert entry.command in str(caught.value)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_small_and_compute_what_was_saved(name):
    folder = FOLDERS[name]
    assert sum(path.stat().st_size for path in folder.rglob("*")) <= MAX_WEIGHTS
    model = from_pretrained(name)
    assert Manifest.read(folder / MANIFEST).fingerprint.deviation(model.model) < 1e-4
    assert timm.create_model(f"local-dir:{folder}", pretrained=True).num_classes == len(model.label_names)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_as_accurate_as_their_card_says(name):
    rows, model = read_results(FOLDERS[name] / RESULTS), from_pretrained(name)
    data = from_dict(DataConfig, model.metadata["data"])
    domain = model.metadata["train_domain"]
    view = EvaluationView(open_dataset(data, [domain])[domain], "test", image_size=data.image_size)
    config = EvaluationConfig(epsilons=(), explanation=None, checks=0)
    (again,) = (row for row in evaluate(model, view, config) if row.metric == "clean_accuracy")
    (kept,) = (row for row in rows if row.metric == "clean_accuracy" and row.test_domain == domain)
    assert (again.value, again.n) == (pytest.approx(kept.value), kept.n)


def test_the_card_of_a_model_without_weights_says_so(tmp_path):
    name, folder = next(iter(FOLDERS.items()))
    for path in (CONFIG, MANIFEST, RESULTS):
        (tmp_path / path).write_bytes((folder / path).read_bytes())
    ZooEntry(command="accelerate launch recipes/pacs.py").write(tmp_path)
    text = card_text(tmp_path, name=name)
    assert "The weights are not published" in text
    assert "accelerate launch recipes/pacs.py" in text
    (tmp_path / WEIGHTS).touch()
    assert "not published" not in card_text(tmp_path, name=name)
