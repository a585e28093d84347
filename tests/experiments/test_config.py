"""What is written to config.yaml is the experiment; every field of a run is part of its name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from egat_hub.core.config import to_dict
from egat_hub.data import DataConfig
from egat_hub.experiments.cell import Cell
from egat_hub.experiments.command import build_experiment, build_parser, save_config
from egat_hub.experiments.further_attack import FurtherAttack
from egat_hub.experiments.variants import ABLATION, GOLDEN, SENSITIVITY
from egat_hub.methods import METHODS
from egat_hub.metrics import InsertionDeletion, Localisation
from tests.experiments.tiny import parsed

CHANGED = (
    *("--data", "folder", "--data-dir", "/images", "--masks-dir", "/masks", "--image-size", "64"),
    *("--split-seed", "3", "--synthetic-size", "77", "--methods", "egat", "trades", "--domains", "a", "b"),
    *("--test-domains", "c", "--seeds", "5", "6", "--epsilon", "0.02", "--epsilons", "0.04", "0.005"),
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
    "--further",
    '[{"attack": "pgd", "attack_options": {"steps": 9}, "images": 5, "epsilons": [0.2, 0.3], "restarts": 3}]',
    *("--evaluation.faithfulness.shares", "[0.05, 0.5]", "--evaluation.faithfulness.fills", '["noise"]'),
    *("--evaluation.insertion_deletion.steps", "14", "--evaluation.localisation.tolerance", "3"),
    *("--egat.lambda_reg", "0", "--egat.guide", "mask", "--egat.step_size", "0.5", "--trades.beta", "3"),
)


def read_back(tmp_path: Path, *arguments: str):
    """The experiment of a command line, before and after it went through config.yaml."""
    parser = build_parser("vlcs", "")
    options = parser.parse_args(list(arguments))
    save_config(parser, options, tmp_path / "config.yaml")
    return build_experiment(parser, options), parsed("--config", str(tmp_path / "config.yaml"))


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
def test_the_saved_config_is_the_experiment(tmp_path, arguments):
    written, read = read_back(tmp_path, *arguments)
    assert read == written


def test_a_saved_config_can_be_saved_again(tmp_path):
    first, _ = read_back(tmp_path, *CHANGED)
    written, read = read_back(tmp_path, "--config", str(tmp_path / "config.yaml"))
    assert first == written == read


def test_what_is_asked_for_is_what_is_built():
    built = parsed(*CHANGED)
    egat, trades = built.variants
    assert (egat.name, trades.name) == ("egat", "trades")
    assert egat.config.epsilon == trades.config.epsilon == 0.02
    assert egat.config.lambda_reg == 0
    assert trades.config.beta == 3
    assert built.evaluation.epsilons == (0.005, 0.02, 0.04)
    assert built.evaluation.faithfulness.q == 0.3
    assert built.evaluation.faithfulness.fill == "mean"
    assert (built.evaluation.faithfulness.shares, built.evaluation.faithfulness.fills) == (
        (0.05, 0.5),
        ("noise",),
    )
    assert built.evaluation.insertion_deletion == InsertionDeletion(steps=14)
    assert built.evaluation.localisation == Localisation(tolerance=3)
    assert parsed().evaluation.insertion_deletion is None
    assert built.model.options == {"img_size": 64, "nested": {"depth": 2, "list": [1, 2]}}
    assert (built.data.name, built.data.masks_dir, built.data.split_seed) == ("folder", "/masks", 3)
    assert (built.domains, built.test_domains, built.seeds) == (("a", "b"), ("c",), (5, 6))
    assert built.further == (
        FurtherAttack(attack="pgd", attack_options={"steps": 9}, images=5, epsilons=(0.2, 0.3), restarts=3),
    )
    assert (built.resources.trackers, built.output) == (("tensorboard",), Path("/out"))


def test_the_command_line_wins_over_the_file(tmp_path):
    (tmp_path / "mine.yaml").write_text("train:\n  steps: 7\n  lr: 2.0e-3\nseeds: [4]\n")
    built = parsed("--config", str(tmp_path / "mine.yaml"), "--train.steps", "8")
    assert (built.train.steps, built.train.lr, built.seeds) == (8, 2e-3, (4,))


def test_all_methods_means_all():
    assert [v.name for v in parsed("--methods", "all").variants] == [*METHODS, *ABLATION]


def test_a_study_of_sensitivity_changes_one_setting_of_egat_at_a_time():
    built = parsed("--methods", "sensitivity", "golden", "--egat.lambda_adv", "0.7").variants
    plain = next(v.config for v in built if v.name == "egat")
    for variant in built:
        if variant.name in {**SENSITIVITY, **GOLDEN}:
            before = to_dict(plain)
            changed = {key: value for key, value in to_dict(variant.config).items() if value != before[key]}
            assert changed == {**SENSITIVITY, **GOLDEN}[variant.name]
    assert {v.name for v in built} == {"igr", "sgdrop", "egat", *SENSITIVITY, *GOLDEN}


def test_the_ablation_switches_parts_of_egat_off():
    built = parsed("--methods", "ablation", "--egat.lambda_adv", "0.7").variants
    weights = {
        v.name: (v.config.lambda_egl, v.config.lambda_adv, v.config.lambda_reg)
        for v in built
        if v.method == "egat"
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
    assert built[0].name == "erm"


def test_names_come_once_and_in_the_order_given():
    names = [v.name for v in parsed("--methods", "egat", "erm", "egat", "egat_only_at").variants]
    assert names == ["egat", "erm", "egat_only_at"]


def cell(**changes):
    built = parsed("--methods", "egat", "--synthetic-size", "60")
    settings = {"variant": built.variants[0], "domain": "meadow", "seed": 0}
    return Cell(**{**settings, "model": built.model, "data": built.data, "train": built.train, **changes})


CHOSEN = {
    "mixed_precision": "bf16",
    "attack_dtype": "bfloat16",
    "freeze_bn": True,
    "data_dir": "images",
    "masks_dir": "masks",
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


def variants(config):
    """The config with each of its fields changed."""
    for field in dataclasses.fields(config):
        if field.name == "training_attack_options":  # there are none of the default
            continue
        value = getattr(config, field.name)
        changed = {
            bool: lambda v: not v,
            int: lambda v: v + 1,
            float: lambda v: v / 2 + 0.01,
            str: lambda v: OTHER.get(v, v + "x"),
            dict: lambda v: {**v, "key": 1},
            type(None): lambda v, name=field.name: CHOSEN.get(name, 0.5),
        }[type(value)](value)
        yield field.name, dataclasses.replace(config, **{field.name: changed})


def test_every_field_of_a_run_changes_its_name():
    base = cell()
    renamed = dataclasses.replace(base.variant, name="my egat")
    assert cell(variant=renamed).name == base.name  # how tables call it decides nothing
    other = dataclasses.replace(base.variant, method="egat2")
    names = {base.name, cell(domain="night").name, cell(seed=1).name, cell(variant=other).name}
    count = 4
    for _, config in variants(base.variant.config):
        names.add(cell(variant=dataclasses.replace(base.variant, config=config)).name)
        count += 1
    for options in ({"over": 3}, {"over": 4}):
        ramp = {"training_attack": "ramp", "training_attack_options": options}
        config = dataclasses.replace(base.variant.config, **ramp)
        names.add(cell(variant=dataclasses.replace(base.variant, config=config)).name)
        count += 1
    for part in ("model", "data", "train"):
        for _, changed in variants(getattr(base, part)):
            names.add(cell(**{part: changed}).name)
            count += 1
    assert len(names) == count > 40
    assert base.name == cell().name
    assert base.name.startswith("egat_meadow_seed0_")


def test_a_folder_has_one_name_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spellings = ("images", "./images", str(tmp_path / "images"), "images/../images")
    assert len({cell(data=DataConfig(data_dir=folder)).name for folder in spellings}) == 1
