"""What the golden runs compute, in the words of the package as it is today.

This file alone knows names of the package. When the package is restructured, imports, names and calls here
change with it; the labels (keys of the mappings below, and what ``*_names`` give), sizes, seeds, options'
values and the order of what is returned do not, nor do ``test_golden.py`` and ``golden.json``.

Functions return tensors, numbers, strings, and mappings or lists of these. What is compared must not contain
a name that may change; labels and names of parameters within a network of timm may be contained.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

import egat_hub
from egat_hub.attacks import ATTACKS, EXPLANATION_ATTACKS, attack_curve
from egat_hub.core.randomness import SampleRandom
from egat_hub.data import DataConfig, EvaluationView, TrainingView, open_dataset, training_loader
from egat_hub.data.corruptions import CORRUPTIONS
from egat_hub.data.transforms import PREPROCESSING
from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.experiments.config import VARIANTS
from egat_hub.explanations import EXPLANATIONS
from egat_hub.hub import save_pretrained
from egat_hub.methods import METHODS, Method
from egat_hub.metrics import Faithfulness, InsertionDeletion, Localisation
from egat_hub.models import TimmModel
from egat_hub.models.train_mode import is_batchnorm
from egat_hub.training import FinetuneConfig, Resources, TrainConfig, train

ROOT = Path(__file__).resolve().parents[2]
SIZE, CLASSES, EPSILON = 48, 5, 8 / 255
assert Path(egat_hub.__file__).is_relative_to(ROOT), f"not the code beside these tests: {egat_hub.__file__}"

WORDS: Mapping[str, str] = {
    "random_maps_score_high": "random_map_has_comp",
    "not_above_random_maps": "comp_not_above_random",
}
"""Words of today that rows' protocols contain -> words that stood there when golden.json was recorded."""

LATER_CHECKS = ("weak_attack",)
"""Sanity checks that came after golden.json was recorded."""

MACHINE = ("seconds", "images_per_second", "loading", "peak_memory_mib")
"""Figures of a training log that say something of the machine."""

QUICK = {"attack_steps": 2}
TRAINED: dict[str, tuple[str, dict[str, Any]]] = {
    "erm": ("erm", {}),
    "pgd_at": ("pgd_at", QUICK),
    "trades": ("trades", QUICK),
    "egat": ("egat", QUICK),
    "align": ("align", {}),
    "dmada": ("dmada", {}),
    "dre": ("dre", {}),
    "ign": ("ign", QUICK),
    "igr": ("igr", {}),
    "irm": ("irm", {}),
    "rrr": ("rrr", {}),
    "sgdrop": ("sgdrop", {}),
    "sgt": ("sgt", {}),
    # past their warm-up, which is longer than these runs
    "align awake": ("align", {"warmup": 0}),
    "dmada awake": ("dmada", {"ramp": 5}),
    "ign awake": ("ign", {**QUICK, "warmup": 0}),
    "irm awake": ("irm", {"warmup": 2, "lambda_irm": 2.0}),
    # variants of tables
    **{
        name: ("egat", {**QUICK, **VARIANTS[name]})
        for name in (
            "egat_without_egl",
            "egat_without_at",
            "egat_without_reg",
            "egat_only_egl",
            "egat_only_at",
            "egat_only_reg",
            "egat_smooth_grad",
            "egat_integrated_gradients",
            "egat_finer_cam",
            "egat_input_gradient",
            "egat_noisy_guide_1",
            "egat_noisy_guide_2",
            "egat_mask_guide",
        )
    },
    # other choices
    "egat no guide": ("egat", {**QUICK, "guide": "none"}),
    "egat any pairs, l2": (
        "egat",
        {**QUICK, "mixup_pairs": "any", "consistency": "l2", "alignment": "l2", "normalize": "sum"},
    ),
    "egat head_grad, l1": ("egat", {**QUICK, "head_grad": True, "alignment": "l1", "normalize": "max"}),
    "egat joint": ("egat", {**QUICK, "views": "joint"}),
    "egat separate": ("egat", {**QUICK, "views": "separate"}),
    "trades warm-up of epsilon": ("trades", {**QUICK, "epsilon_warmup": 4, "step_size": 0.7}),
    "pgd_at bfloat16": ("pgd_at", {**QUICK, "attack_dtype": "bfloat16"}),
    "dre mean_l1": ("dre", {"sparsity": "mean_l1"}),
    "ign sum_norm": ("ign", {**QUICK, "warmup": 0, "objective": "sum_norm"}),
    "irm random": ("irm", {"warmup": 0, "environments": "random"}),
    "irm single": ("irm", {"warmup": 0, "environments": "single"}),
    "rrr mask": ("rrr", {"guide": "mask"}),
}
TRAINING_ATTACKS_TRAINED: dict[str, tuple[str, dict[str, Any]]] = {
    "pgd": ("pgd", {}),
    "fgsm_rs": ("fgsm_rs", {}),
    "n_fgsm": ("n_fgsm", {}),
    "early_stop": ("early_stop", {}),
    "ramp": ("ramp", {"over": 3}),
    "warm": ("warm", {}),
}
ATTACKED: dict[str, tuple[str, dict[str, Any]]] = {
    "fgsm": ("fgsm", {}),
    "mi_fgsm": ("mi_fgsm", {"steps": 5}),
    "pgd": ("pgd", {"steps": 5}),
    "pgd normal": ("pgd", {"steps": 5, "start": "normal", "step_size": 0.5}),
    "auto_attack": ("auto_attack", {"iterations": 5, "queries": 20}),
    "auto_attack rand": ("auto_attack", {"version": "rand", "iterations": 3}),
}
EXPLAINED: dict[str, tuple[str, dict[str, Any]]] = {
    "grad_cam": ("grad_cam", {}),
    "finer_cam": ("finer_cam", {}),
    "input_gradient": ("input_gradient", {}),
    "integrated_gradients": ("integrated_gradients", {"points": 5}),
    "integrated_gradients black": ("integrated_gradients", {"points": 5, "baseline": "black"}),
    "smooth_grad": ("smooth_grad", {"samples": 4}),
}
EXPLANATIONS_ATTACKED: dict[str, str] = {
    "top_k": "top_k",
    "mass_centre": "mass_centre",
    "target_map": "target_map",
    "keep_map": "keep_map",
}
CORRUPTED: dict[str, str] = {
    name: name
    for name in (
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        "defocus_blur",
        "glass_blur",
        "motion_blur",
        "zoom_blur",
        "snow",
        "frost",
        "fog",
        "brightness",
        "contrast",
        "elastic_transform",
        "pixelate",
        "jpeg_compression",
    )
}
EVALUATED: dict[str, dict[str, Any]] = {
    "everything": {
        "epsilons": (2 / 255, 8 / 255),
        "attack_options": {"steps": 4},
        "restarts": 2,
        "faithfulness": Faithfulness(shares=(0.1, 0.5), fills=("black", "blur", "noise")),
        "insertion_deletion": InsertionDeletion(steps=6),
        "localisation": Localisation(),
        "explanation_attacks": tuple(EXPLANATIONS_ATTACKED.values()),
        "explanation_attack_options": {"optimizer_options": {"steps": 3}},
        "corruptions": ("gaussian_noise", "jpeg_compression"),
        "severities": (1, 3),
        "checks": 8,
        "batch_size": 10,
    },
    "cascade": {
        "epsilons": (2 / 255, 8 / 255),
        "attack": "auto_attack",
        "attack_options": {"iterations": 3, "queries": 10},
        "explanation": "input_gradient",
        "faithfulness": Faithfulness(q=0.3, fill="blur", target="label"),
        "checks": 8,
        "seed": 5,
    },
}


# the labels: keys of golden.json


def data_names() -> list[str]:
    return ["training", "evaluation", "every domain"]


def method_names() -> list[str]:
    return list(TRAINED)


def training_attack_names() -> list[str]:
    return list(TRAINING_ATTACKS_TRAINED)


def attack_names() -> list[str]:
    return [*ATTACKED, "curve of pgd", "curve of auto_attack"]


def explanation_names() -> list[str]:
    return list(EXPLAINED)


def explanation_attack_names() -> list[str]:
    return [f"{name} on {maps}" for name in EXPLANATIONS_ATTACKED for maps in ("grad_cam", "input_gradient")]


def corruption_names() -> list[str]:
    return list(CORRUPTED)


def evaluation_names() -> list[str]:
    return list(EVALUATED)


def run_names() -> list[str]:
    return ["resumed", "average of weights", "transfer"]


# what they compute


def data(name: str) -> Any:
    """The batches that training sees, the images that are evaluated, and images of every generated domain."""
    if name == "training":
        return list(batches(5))
    if name == "evaluation":
        return [dict(EvaluationView(domain(), "test", image_size=SIZE)[i]) for i in range(4)]
    every = open_dataset(DataConfig(synthetic_size=15, image_size=SIZE))
    views = [EvaluationView(every[each], "all", image_size=SIZE) for each in every]
    return [dict(view[i]) for view in views for i in (0, 7)]


def train_five_steps(name: str) -> Any:
    """Weights of the network, further parameters of the method, and the loss of every step."""
    method, options = TRAINED[name]
    return steps(METHODS[method](network(), seed=1, **options), 5)


def train_with_training_attack(name: str) -> Any:
    """As :func:`train_five_steps`, three steps."""
    attack, options = TRAINING_ATTACKS_TRAINED[name]
    settings = {"attack_steps": 4, "training_attack": attack, "training_attack_options": options}
    return steps(METHODS["pgd_at"](network(), seed=1, **settings), 3)


def attack(name: str) -> Any:
    """Attacked images, and what is left after every part of an ensemble; or the points of a curve."""
    model, images = network().eval(), pictures(8)
    with torch.no_grad():
        labels = model(images).argmax(1)
    random = SampleRandom(2, tuple(range(5, 13)), 3)
    if name.startswith("curve of "):
        kind, options = ATTACKED[name.removeprefix("curve of ")]
        budgets = (EPSILON, EPSILON / 4)
        points = attack_curve(
            model, ATTACKS[kind](**options), images, labels, budgets, restarts=2, random=random
        )
        return [
            [p.epsilon, p.correct, p.images, list(p.correct_after.values()), list(p.flags.values())]
            for p in points
        ]
    kind, options = ATTACKED[name]
    found = ATTACKS[kind](**options).run(model, images, labels, EPSILON, random=random)
    return [found.images, list(found.correct_after.values()), list(found.flags.values())]


def explanation(name: str) -> Any:
    """Maps of the predicted class by default, signed maps of a given class, and maps as in training."""
    kind, options = EXPLAINED[name]
    model, images = network().eval(), pictures(8)
    explain = EXPLANATIONS[kind](**options)
    signed = dataclasses.replace(explain, relu=False, normalize="none")
    maps = [
        explain(model, images),
        signed(model, images, torch.arange(8) % CLASSES),
        explain.training()(model, images),
    ]
    return [found.detach() for found in maps]


def explanation_attack(name: str) -> Any:
    """Attacked images, both maps, and what is said of them."""
    kind, maps = name.split(" on ")
    run = EXPLANATION_ATTACKS[EXPLANATIONS_ATTACKED[kind]](optimizer_options={"steps": 4}, restarts=2)
    found = run(
        network().eval(),
        EXPLANATIONS[EXPLAINED[maps][0]](),
        pictures(8),
        EPSILON,
        random=SampleRandom(2, tuple(range(5, 13))),
    )
    agreement = list(found.agreement.values())
    return [
        *(found.images, found.clean.maps, found.attacked.maps, found.clean.classes, found.attacked.classes),
        *(found.same_prediction, found.alive, found.success, agreement),
    ]


def corruption(name: str) -> Any:
    """Corrupted images at three severities."""
    random = SampleRandom(2, tuple(range(5, 9)))
    return [CORRUPTIONS[CORRUPTED[name]](pictures(4), severity, random) for severity in (1, 3, 5)]


def evaluation_rows(name: str) -> Any:
    """Value, number of images and protocol of every row, in their order."""
    method = METHODS["pgd_at"](network(), seed=1, **QUICK)
    steps(method, 5)
    view = EvaluationView(domain(), "test", image_size=SIZE)
    rows = evaluate(method.model.eval(), view, EvaluationConfig(**EVALUATED[name]))
    rows = [row for row in rows if row.protocol.get("check") not in LATER_CHECKS]
    return [[row.value, row.n, sorted(map(json.dumps, scalars(row.protocol)))] for row in rows]


def exported_folder() -> Any:
    """Hash of the weights' file, and timm's configuration."""
    metadata = {"method": "egat", "dataset": "synthetic", "train_domain": "meadow", "seed": 3}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        model = network().eval()
        model.net.pretrained_cfg = {**model.net.pretrained_cfg, **PREPROCESSING}  # now set by training
        save_pretrained(model, place, label_names=tuple("abcde"), metadata=metadata)
        weights = hashlib.sha256((place / "model.safetensors").read_bytes()).hexdigest()
        config = json.loads((place / "config.json").read_text())
        config["model_args"] = {"num_classes": CLASSES, **config["model_args"]}  # now at the top only
        return [weights, config]


def training_run(name: str) -> Any:
    """Weights, the choice among them and the log of whole runs of 12 steps.

    The first is also killed after 6 steps and resumed from the checkpoint of step 4 by a method of other
    weights, which must come to the same.
    """
    if name == "average of weights":
        return run("trades", ema_decay=0.8, accumulation=2, clip_grad=1.0, weight_decay=0.1)
    if name == "transfer":
        return run(
            "pgd_at",
            finetune=FinetuneConfig(layer_decay=0.8, head_warmup=4),
            selection="best_val_clean_accuracy",
        )
    whole, resumed = run("egat"), run("egat", killed=True)
    assert same(whole, resumed), "a resumed run differs from one in one go"
    return whole


def demo_tables() -> Any:
    """Value and number of images of every row that ``make demo`` writes, without times of training."""
    with tempfile.TemporaryDirectory() as folder:
        launch = "--num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no"
        command = [sys.executable, "-m", "accelerate.commands.launch", *launch.split()]
        command += ["--num_cpu_threads_per_process", "1", "recipes/vlcs.py"]
        command += ["--config", "recipes/demo.yaml", "--output", folder]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
        rows = json.loads((Path(folder) / "results.json").read_text())
    return [
        [row["value"], row["n"]]
        for row in rows
        if row["metric"] != "training_seconds" and row["protocol"].get("check") not in LATER_CHECKS
    ]


# parts


def network(seed: int = 0, drop_rate: float = 0.0) -> TimmModel:
    """A ResNet of random weights with maps of 6 x 6 positions and a head whose logits spread."""
    torch.manual_seed(seed)
    net = timm.create_model("test_resnet", num_classes=CLASSES, output_stride=8, drop_rate=drop_rate)
    with torch.no_grad():
        net.get_classifier().weight.normal_(std=0.2)
        for module in filter(is_batchnorm, net.modules()):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return TimmModel(net, image_size=SIZE).train()


@functools.cache
def domain() -> Any:
    """Generated images with masks: 72 to train on, 24 to validate and 24 to test."""
    return open_dataset(DataConfig(synthetic_size=120, image_size=SIZE))["meadow"]


def pictures(count: int) -> Tensor:
    view = EvaluationView(domain(), "val", image_size=SIZE)
    return torch.stack([view[i]["image"] for i in range(count)])


def batches(count: int) -> Iterator[dict[str, Tensor]]:
    """Augmented batches of 8 of only 20 images, so that images come again."""
    view = TrainingView(domain(), image_size=SIZE, seed=3)
    view.indices = view.indices[:20]
    yield from training_loader(view, batch_size=8, steps=count, seed=3)


def steps(method: Method, count: int) -> Any:
    """Train as the loop of the package does; it is the method that is looked at here."""
    method.train()
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-3)
    losses = []
    for step, batch in enumerate(batches(count)):
        torch.manual_seed(step)
        if method.restarts_optimizer(step):
            optimizer.state.clear()
        images, labels = batch.pop("image"), batch.pop("label")
        optimizer.zero_grad()
        loss = method(images, labels, step=step, **batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    net = method.model.net
    mine = {id(parameter) for parameter in net.parameters()}
    rest = [parameter.detach() for parameter in method.parameters() if id(parameter) not in mine]
    return {"network": net.state_dict(), "rest": rest, "losses": losses}


class Killed(Exception):
    """A run that ends in between."""


def run(kind: str, *, killed: bool = False, finetune: FinetuneConfig | None = None, **config: Any) -> Any:
    settings = {"steps": 12, "batch_size": 8, "lr": 1e-3, "validate_every": 3, "selection": "last", **config}

    def begin(method: Method) -> Any:
        return train(
            method,
            TrainingView(domain(), image_size=SIZE, seed=4),
            EvaluationView(domain(), "val", image_size=SIZE),
            TrainConfig(mixed_precision="no", **settings),
            folder,
            seed=4,
            resources=Resources(workers=0, log_every=1, checkpoint_every=4),
            finetune=finetune,
        )

    def dies(*args: Any, step: int, **kwargs: Any) -> Any:
        if step == 6:
            raise Killed
        return forward(*args, step=step, **kwargs)

    with tempfile.TemporaryDirectory() as folder:
        method = METHODS[kind](network(drop_rate=0.3), seed=1, **QUICK)
        if killed:
            forward, method.forward = method.forward, dies
            try:
                begin(method)
                raise AssertionError("was not killed")
            except Killed:
                method = METHODS[kind](network(seed=9, drop_rate=0.3), seed=1, **QUICK)
        trained = begin(method)
        lines = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    return {
        "network": trained.model.net.state_dict(),
        "best": [trained.best_step, trained.val_accuracy],
        "log": [[value for key, value in line.items() if key not in MACHINE] for line in lines],
    }


def same(first: Any, second: Any) -> bool:
    if first.keys() != second.keys() or first["network"].keys() != second["network"].keys():
        return False
    weights = first["network"]
    return all(torch.equal(weights[key], second["network"][key]) for key in weights) and (
        (first["best"], first["log"]) == (second["best"], second["log"])
    )


def scalars(value: Any) -> Iterator[Any]:
    """Numbers, words, truth values and nothings anywhere inside."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from scalars(item)
    else:
        yield WORDS.get(value, value) if isinstance(value, str) else value
