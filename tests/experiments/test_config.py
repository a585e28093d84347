"""The options and configs of runs: what is saved is what was given, and every field decides or does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from egat_hub.core.config import to_dict
from egat_hub.core.options import add_options, spelled
from egat_hub.data import DataConfig
from egat_hub.experiments import ExtraAttack, RunConfig, SweepOptions
from egat_hub.experiments.config import ABLATION, GOLDEN, SENSITIVITY
from egat_hub.methods import METHODS
from egat_hub.metrics import InsertionDeletion, Localisation
from egat_hub.training import TrainConfig
from tests.experiments.tiny import parsed, runs_of

CHANGED = (
    *("--data", "folder", "--data.dir", "/images", "--data.masks_dir", "/masks", "--data.image_size", "64"),
    *(
        "--data.split_seed",
        "3",
        "--data.synthetic_size",
        "77",
        "--methods",
        "egat",
        "trades",
        "--domains",
        "a",
        "b",
    ),
    *("--test_domains", "c", "--seeds", "5", "6", "--epsilon", "0.02", "--epsilons", "0.04", "0.005"),
    *(
        "--output",
        "/out",
        "--model.name",
        "vit_tiny",
        "--model.pretrained",
        "false",
        "--model.freeze_bn",
        "true",
    ),
    *(
        "--model.drop_rate",
        "0.25",
        "--model.options",
        '{"img_size": 64, "nested": {"depth": 2, "list": [1, 2]}}',
    ),
    *("--train.steps", "9", "--train.lr", "1e-3", "--train.clip_grad", "1.5", "--train.ema_decay", "0.99"),
    *("--train.mixed_precision", "bf16", "--evaluation.restarts", "2"),
    *(
        "--evaluation.attack_options",
        '{"steps": 20, "start": "normal"}',
        "--evaluation.faithfulness.q",
        "0.3",
    ),
    *("--evaluation.faithfulness.target", "label", "--resources.trackers", '["tensorboard"]'),
    "--extra_attacks",
    '[{"attack": "pgd", "attack_options": {"steps": 9}, "images": 5, "epsilons": [0.2, 0.3], "restarts": 3}]',
    *("--evaluation.faithfulness.shares", "[0.05, 0.5]", "--evaluation.faithfulness.fills", '["noise"]'),
    *("--evaluation.insertion_deletion.steps", "14", "--evaluation.localisation.tolerance", "3"),
    *("--egat.lambda_reg", "0", "--egat.guide", "mask", "--egat.step_size", "0.5", "--trades.beta", "3"),
)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        CHANGED,
        ("--evaluation.explanation", "null"),
        ("--evaluation.faithfulness", "null", "--evaluation.localisation", "null"),
        ("--evaluation.insertion_deletion", "{}"),
        ("--evaluation.insertion_deletion.deletion_fill", "black"),
        ("--methods", "all"),
        ("--train.lr", "5e-05", "--epsilon", "1e-3"),
    ],
)
def test_saved_options_read_back_as_they_were(tmp_path, arguments):
    given = dataclasses.replace(parsed(*arguments))
    given.save(tmp_path / "config.yaml")
    read = parsed("--config", str(tmp_path / "config.yaml"))
    resolved = dataclasses.replace(given.train, mixed_precision=given.train.mixed_precision or "no")
    assert read == dataclasses.replace(given, train=resolved)
    read.save(tmp_path / "again.yaml")
    assert (tmp_path / "again.yaml").read_text() == (tmp_path / "config.yaml").read_text()


def test_options_become_runs():
    options = parsed(*CHANGED)
    run = options.run_config("egat", "a", 5)
    trades = options.run_config("trades", "a", 5)
    assert run.method_config.epsilon == trades.method_config.epsilon == 0.02
    assert run.method_config.lambda_reg == 0
    assert trades.method_config.beta == 3
    assert run.evaluation.epsilons == (0.005, 0.02, 0.04)
    assert run.evaluation.faithfulness.q == 0.3
    assert run.evaluation.faithfulness.fill == "mean"
    assert (run.evaluation.faithfulness.shares, run.evaluation.faithfulness.fills) == (
        (0.05, 0.5),
        ("noise",),
    )
    assert run.evaluation.insertion_deletion == InsertionDeletion(steps=14)
    assert run.evaluation.localisation == Localisation(tolerance=3)
    assert run.model.options == {"img_size": 64, "nested": {"depth": 2, "list": [1, 2]}}
    assert (run.data.name, run.data.masks_dir, run.data.split_seed) == ("folder", "/masks", 3)
    assert (options.methods, options.domains, options.seeds) == (("egat", "trades"), ("a", "b"), (5, 6))
    assert (options.test_domains, options.output) == (("c",), Path("/out"))
    assert run.extra_attacks == (
        ExtraAttack(attack="pgd", attack_options={"steps": 9}, images=5, epsilons=(0.2, 0.3), restarts=3),
    )
    assert options.resources.trackers == ("tensorboard",)


def test_an_extra_attack_has_the_budget_of_the_run_by_default():
    run = parsed("--extra_attacks", "[{attack: fgsm}]", "--epsilon", "0.03").run_config("erm", "a", 0)
    assert run.extra_attacks == (ExtraAttack(attack="fgsm", epsilons=(0.03,)),)


@pytest.mark.parametrize(
    ("words", "canonical"),
    [
        (["--data-dir", "a-b"], ["--data.dir", "a-b"]),
        (["--data", "vlcs"], ["--data.name", "vlcs"]),
        (["--train-batch-size=4"], ["--train.batch_size=4"]),
        (["--test-domains", "a"], ["--test_domains", "a"]),
        (["--executor", "ray", "--executor-gpus", "1"], ["--executor.name", "ray", "--executor.gpus", "1"]),
        (["--model.options.depth", "2"], ["--model.options.depth", "2"]),
    ],
)
def test_dashes_dots_and_underscores_are_interchangeable(words, canonical):
    parser = ArgumentParser()
    add_options(parser, SweepOptions)
    assert spelled(parser, words) == canonical


def test_the_command_line_wins_over_the_file(tmp_path):
    (tmp_path / "mine.yaml").write_text("train:\n  steps: 7\n  lr: 2.0e-3\nseeds: [4]\n")
    options = parsed("--config", str(tmp_path / "mine.yaml"), "--train.steps", "8")
    assert (options.train.steps, options.train.lr, options.seeds) == (8, 2e-3, (4,))


def methods_of(*arguments):
    """One run of each method that a command line names."""
    return runs_of("--domains", "meadow", "--seeds", "0", *arguments)


def test_all_methods_means_all():
    assert [run.label for run in methods_of("--methods", "all")] == [*METHODS, *ABLATION]


def test_sensitivity_study_changes_one_setting_at_a_time():
    runs = methods_of("--methods", "sensitivity", "golden", "--egat.lambda_adv", "0.7")
    plain = next(run.method_config for run in runs if run.label == "egat")
    for run in runs:
        if run.label in {**SENSITIVITY, **GOLDEN}:
            before = to_dict(plain)
            changed = {k: value for k, value in to_dict(run.method_config).items() if value != before[k]}
            assert changed == {**SENSITIVITY, **GOLDEN}[run.label]
    assert {run.label for run in runs} == {"igr", "sgdrop", "egat", *SENSITIVITY, *GOLDEN}


def test_the_ablation_switches_parts_of_egat_off():
    runs = methods_of("--methods", "ablation", "--egat.lambda_adv", "0.7")
    weights = {
        run.label: tuple(getattr(run.method_config, f"lambda_{part}") for part in ("egl", "adv", "reg"))
        for run in runs
        if run.method == "egat"
    }
    assert weights == {
        "egat": (1, 0.7, 1),
        "egat_without_egl": (0, 0.7, 1),
        "egat_without_at": (1, 0, 1),
        "egat_without_reg": (1, 0.7, 0),
        "egat_only_egl": (1, 0, 0),
        "egat_only_at": (0, 0.7, 0),
        "egat_only_reg": (0, 0, 1),
    }
    assert runs[0].label == "erm"


def test_methods_come_once_and_in_the_given_order():
    labels = [run.label for run in methods_of("--methods", "egat", "erm", "egat", "egat_only_at")]
    assert labels == ["egat", "erm", "egat_only_at"]


def test_runs_are_ordered_by_seed():
    runs = runs_of("--methods", "erm", "egat", "--domains", "meadow", "night", "--seeds", "0", "1")
    assert [run.seed for run in runs] == [0] * 4 + [1] * 4


CHOSEN = {
    "mixed_precision": "bf16",
    "attack_dtype": "bfloat16",
    "freeze_bn": True,
    "dir": "images",
    "masks_dir": "masks",
    "image_size": 64,
    "head_warmup": 3,
}
OTHER = {
    "pgd": "ramp",
    "no": "bf16",
    "l1": "l2",
    "auto": "joint",
    "same_class": "any",
    "bce": "l1",
    "best_val_clean_accuracy": "last",
}
FINETUNE = {"layer_decay": 0.5, "head_warmup": 3, "freeze_backbone": True}


def changed(config):
    """The config with each of its fields changed."""
    for field in dataclasses.fields(config):
        if field.name == "training_attack_options":  # the default attack has none
            continue
        value = getattr(config, field.name)
        other = {
            bool: lambda v: not v,
            int: lambda v: v + 1,
            float: lambda v: v / 2 + 0.01,
            str: lambda v: OTHER.get(v, v + "x"),
            dict: lambda v: {**v, "key": 1},
            type(None): lambda v, name=field.name: CHOSEN.get(name, 0.5),
        }[type(value)](value)
        yield dataclasses.replace(config, **{field.name: other})


def test_training_fields_change_the_run_name():
    base = RunConfig(method="egat", data=DataConfig(synthetic_size=60), domain="meadow")
    runs = [
        base,
        *(dataclasses.replace(base, **c) for c in ({"domain": "night"}, {"seed": 1}, {"weights": "ab"})),
    ]
    runs.append(dataclasses.replace(base, method="egat2"))
    for part in ("method_config", "model", "data", "train"):
        runs += [dataclasses.replace(base, **{part: config}) for config in changed(getattr(base, part))]
    runs += [
        dataclasses.replace(base, finetune=dataclasses.replace(base.finetune, **{name: value}))
        for name, value in FINETUNE.items()
    ]
    for options in ({"over": 3}, {"over": 4}):
        ramp = {"training_attack": "ramp", "training_attack_options": options}
        config = dataclasses.replace(base.method_config, **ramp)
        runs.append(dataclasses.replace(base, method_config=config))
    assert len({run.name for run in runs}) == len(runs) > 40
    assert base.name.startswith("egat_meadow_seed0_")


def test_evaluation_and_label_do_not_change_the_run_name():
    base = RunConfig(method="egat", data=DataConfig(), domain="meadow")
    for change in (
        {"label": "mine"},
        {"evaluation": dataclasses.replace(base.evaluation, restarts=3)},
        {"extra_attacks": (ExtraAttack(attack="fgsm"),)},
        {"test_domains": ()},
        {"split": "val"},
    ):
        assert dataclasses.replace(base, **change).name == base.name


def test_a_field_that_is_added_later_does_not_change_the_name(monkeypatch):
    base = RunConfig(method="erm", data=DataConfig(), domain="meadow", train=TrainConfig(steps=3))
    fields = [("added", int, dataclasses.field(default=0))]
    later = dataclasses.make_dataclass("TrainConfig", fields, bases=(TrainConfig,), frozen=True, kw_only=True)
    assert dataclasses.replace(base, train=later(steps=3)).name == base.name
    assert dataclasses.replace(base, train=later(steps=3, added=1)).name != base.name


def test_a_saved_model_is_identified_by_its_weights_and_not_by_its_place():
    base = RunConfig(method="erm", data=DataConfig(), domain="meadow", weights="ab")
    moved = dataclasses.replace(base, model=dataclasses.replace(base.model, name="/elsewhere/model"))
    assert moved.name == base.name


def test_a_folder_has_one_name_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spellings = ("images", "./images", str(tmp_path / "images"), "images/../images")
    data = [DataConfig("folder", folder) for folder in spellings]
    assert len({RunConfig(method="erm", data=one, domain="a").name for one in data}) == 1
