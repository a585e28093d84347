from __future__ import annotations

import dataclasses
import itertools
import re

import pytest
from huggingface_hub import ModelCard

from egat_hub.core.results import Row
from egat_hub.hub.cards import is_headline, render_card
from egat_hub.hub.layout import model_name

METADATA = {
    "method": "egat",
    "dataset": "vlcs",
    "train_domain": "caltech101",
    "seed": 3,
    "base_model": "resnet50.a1_in1k",
    "config": {"lambda_adv": 0.5, "attack": {"steps": 10}},
    "versions": {"torch": "2.9.0"},
}
ATTACK = {"attack": "pgd", "steps": 10, "restarts": 1, "step_size": 0.25, "start": "uniform"}
FAITHFUL = {"explanation": "grad_cam", "q": 0.2, "fill": "mean", "class": "predicted"}


def row(metric: str, value: float, *, test_domain: str = "caltech101", seed: int = 0, **protocol) -> Row:
    return Row(
        "resnet50", "egat", "vlcs", "caltech101", test_domain, "test", metric, value, 283, seed, protocol
    )


ROWS = [
    row("clean_accuracy", 91.11),
    row("clean_accuracy", 92.22, seed=1),
    row("clean_accuracy", 63.33, test_domain="labelme"),
    row("clean_accuracy", 64.44, test_domain="sun09"),
    *(row("robust_accuracy", value, epsilon=e, **ATTACK) for e, value in ((8 / 255, 15.55), (0.01, 56.66))),
    row("robust_accuracy", 46.61, epsilon=0.01, **{**ATTACK, "restarts": 5}),
    *(
        row(metric, 10 + i, map=kind, **FAITHFUL)
        for i, (metric, kind) in enumerate(
            itertools.product(("comprehensiveness", "sufficiency"), ("model", "random", "centre"))
        )
    ),
    row("stability", 0.77, measure="cosine", epsilon=0.01, **ATTACK),
    row("stability", 0.66, measure="topk_overlap", epsilon=0.01, **ATTACK),
    row("stability", 0.55, measure="ssim", prediction="flipped", epsilon=0.01, **ATTACK),
    row("relative_comprehensiveness", 21.21, map="model", **FAITHFUL),
    row("insertion_auc", 31.31, map="model", explanation="grad_cam", steps=28),
    row("pointing_game", 41.41, map="centre", explanation="grad_cam", tolerance=15),
    row("sanity_check", 100.0, check="not_above_random_maps", **FAITHFUL),
    *(
        row("corruption_accuracy", 40.0 + s, corruption="fog", severity=s, lengths="x shorter side / 224")
        for s in (1, 2)
    ),
    row(
        "mean_corruption_accuracy",
        45.45,
        corruptions="fog",
        severities="1, 2",
        lengths="x shorter side / 224",
    ),
    row("map_stability", 0.54, measure="cosine", epsilon=0.01, **{**ATTACK, "attack": "top_k"}),
    row("explanation_attack_success", 44.33, epsilon=0.01, **{**ATTACK, "attack": "top_k"}),
    row("dead_maps", 1.88, explanation="grad_cam"),
    row("ECE", 3.21, bins=15),
]


def card(rows=ROWS, metadata=METADATA, label_names=("bird", "car"), **others) -> str:
    return render_card(
        rows=rows,
        metadata=metadata,
        label_names=label_names,
        architecture="resnet50",
        image_size=224,
        **others,
    )


def test_an_attack_on_latents_has_a_table_of_its_own():
    settings = {"attack": "sca", "budget_space": "latent", "steps": 10}
    rows = [
        row(metric, value, latent_epsilon=0.1, **settings)
        for metric, value in (("robust_accuracy", 3.45), ("pixel_l2", 6.78))
    ]
    text = card([*ROWS, *rows])
    own = text.split("### Accuracy under unrestricted attack")[1].split("###")[0]
    assert "latent_epsilon 0.1" in own
    assert "3.45" in own
    assert "6.78" in own
    assert "3.45" not in text.split("### Accuracy under attack")[1].split("###")[0]


def test_header_has_the_fields_of_the_hub():
    data = ModelCard(card()).data
    assert data.library_name == "timm"
    assert data.pipeline_tag == "image-classification"
    assert data.license == "apache-2.0"
    assert data.base_model == "timm/resnet50.a1_in1k"
    assert data.datasets is None
    assert ModelCard(card(metadata={**METADATA, "dataset_id": "org/vlcs"})).data.datasets == ["org/vlcs"]
    assert data.metrics == ["accuracy"]
    assert data.tags == ["egat_hub", "timm", "egat", "vlcs", "adversarial-robustness", "explainability"]
    assert data.model_name == "resnet50.egat_vlcs"


def test_headline_metrics_are_in_the_header(tmp_path):
    path = tmp_path / "README.md"
    ModelCard(card()).save(path)
    results = ModelCard.load(path).data.eval_results
    headlines = [r for r in ROWS if is_headline(r)]
    assert {r.metric for r in headlines} == {
        "clean_accuracy",
        "robust_accuracy",
        "mean_corruption_accuracy",
        "comprehensiveness",
        "sufficiency",
    }
    assert len(results) == len(headlines) < len(ROWS)
    written = {
        (result.metric_name, result.metric_value, tuple(sorted(result.metric_args.items(), key=str)))
        for result in results
    }
    expected = {
        (r.metric, r.value, tuple(sorted({**r.protocol, "n": r.n, "seed": r.seed}.items(), key=str)))
        for r in headlines
    }
    assert written == expected


def test_attacks_and_epsilons_have_separate_data_set_entries():
    results = [
        r
        for r in ModelCard(card()).data.eval_results
        if r.metric_name in ("clean_accuracy", "robust_accuracy")
    ]
    entries = {}
    for result in results:
        threat = {k: v for k, v in result.metric_args.items() if k not in ("n", "seed")}
        entries.setdefault((result.dataset_config, result.dataset_split), []).append(threat)
    assert all(all(threat == threats[0] for threat in threats) for threats in entries.values())


def test_body_shows_every_metric_with_its_protocol():
    text = card()
    body = text.split("\n---\n", 1)[1]
    intro, results = body.split("## Results")
    for r in ROWS:
        assert f" {r.value:.2f} " in results
    summary = [line for line in intro.splitlines() if line.startswith("| ")][1:]
    assert len(summary) == min(10, len([r for r in ROWS if is_headline(r)]))
    assert re.search(r"robust accuracy +\| caltech101 +\| 15\.[56] +\| attack pgd, epsilon 0\.03137", intro)
    line = next(line for line in body.splitlines() if "56.66" in line)
    assert "15.55" in line
    assert "attack pgd, steps 10, restarts 1" in line
    assert "283" in line
    assert "46.61" not in line
    assert re.search(r"epsilon 0\.01 +\| epsilon 0\.03137", body)
    faithful = next(line for line in results.splitlines() if line.startswith("| comprehensiveness"))
    assert [cell.strip() for cell in faithful.split("|")][4:7] == ["10.00", "11.00", "12.00"]
    assert re.search(r"severity 1 +\| severity 2", body)
    foggy = next(line for line in body.splitlines() if line.startswith("| corruption_accuracy"))
    assert [cell.strip() for cell in foggy.split("|")][4:7] == ["41.00", "42.00", "-"]
    assert "| attack.steps | 10" in body
    assert "| torch " in body
    assert "2603.01938" in body
    assert "egat_hub.from_pretrained" in body
    assert "timm.create_model" in body


def test_metrics_without_rows_are_omitted():
    body = card(rows=[row("clean_accuracy", 91.11)]).split("\n---\n", 1)[1]
    results = body.split("## Results")[1].split("## Training")[0]
    assert re.findall(r"\d+\.\d+", results) == ["91.11"]
    assert "under attack" not in results
    assert "nothing is claimed about robustness" in body


def test_threat_model_matches_the_rows():
    assert "every pixel by at most epsilon (L-infinity)." in card()
    other = card(rows=[row("robust_accuracy", 40.0, epsilon=0.5, norm="l2", **ATTACK)])
    assert "L-infinity" not in other
    assert "in the norm that is named with each result" in other


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "vgg11"}, r"results of 'resnet50', got a row of the model 'vgg11'"),
        ({"dataset": "pacs"}, r"results of 'vlcs', got a row of the dataset 'pacs'"),
        ({"value": float("nan")}, r"clean_accuracy = nan"),
    ],
)
def test_rows_of_another_model_raise(changed, message):
    with pytest.raises(ValueError, match=message):
        card(rows=[dataclasses.replace(row("clean_accuracy", 91.11), **changed)])


def test_non_result_accuracies_are_left_out():
    text = card(metadata={**METADATA, "val_accuracy": 98.76, "robust_accuracy": 87.65, "best_step": 12345})
    assert "98.76" not in text
    assert "87.65" not in text
    assert "12345" in text


def test_tags_describe_the_model():
    assert ModelCard(card(rows=[row("clean_accuracy", 91.11)])).data.tags == [
        "egat_hub",
        "timm",
        "egat",
        "vlcs",
    ]


def test_card_without_rows():
    text = card(rows=[])
    assert "Nothing was measured." in text
    assert ModelCard(text).data.eval_results is None
    assert "model-index" not in text


def test_card_without_metadata():
    text = card(rows=[], metadata={})
    data = ModelCard(text).data
    assert data.base_model is None
    assert data.datasets is None
    assert "configuration was not recorded" in text
    assert "No training recipe was recorded" in text
    assert "Versions were not recorded" in text


def test_figures_are_embedded_if_present():
    assert "![case_study.png](case_study.png)" in card(figures=("case_study.png",))
    assert "![" not in card()


def test_special_characters_in_names_are_escaped():
    metadata = {**METADATA, "note": "a | b\nc", "config": {"x": "{{ 1 / 0 }}"}}
    text = card(metadata=metadata, label_names=("a: b", "{% if %}"), rows=[row("clean_accuracy", 1.5)])
    assert "a \\| b c" in text
    assert "{{ 1 / 0 }}" in text
    assert len(ModelCard(text).data.eval_results) == 1


def test_rows_of_several_models_raise():
    other = Row("resnet50", "erm", "vlcs", "sun09", "sun09", "test", "clean_accuracy", 1.0, 1, 0)
    with pytest.raises(ValueError, match="got resnet50 by egat, resnet50 by erm"):
        card(rows=[*ROWS, other])


def test_model_name():
    assert model_name("resnet50", METADATA) == "resnet50.egat_vlcs"
    assert model_name("resnet50", {}) == "resnet50"
    assert model_name("resnet50", {"method": "egat", "dataset": "org/my.pets"}) == "resnet50.egat_my_pets"
