"""The command line of an experiment: every field of every config, from a file and from flags."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from jsonargparse import ArgumentParser, Namespace

from egat_hub.core.files import atomic_write_text
from egat_hub.core.options import EXPECTED, add_fields, pop_fields
from egat_hub.data import DataConfig
from egat_hub.evaluation import EvaluationConfig
from egat_hub.experiments.experiment import Experiment, Ready, prepare, run
from egat_hub.experiments.further_attack import FurtherAttack
from egat_hub.experiments.search import Grid
from egat_hub.experiments.variants import VARIANTS, facing, variants
from egat_hub.methods import METHODS
from egat_hub.training import ModelConfig, Resources, TrainConfig

DEFAULT_METHODS = ("erm", "pgd_at", "trades", "egat")
NAMES = f"methods; 'all', 'ablation', 'sensitivity' or 'golden'; variants of EGAT: {', '.join(VARIANTS)}"
SHARED = {"epsilon"}
"""Fields that every method takes from the experiment, so that all face the same attack."""


def main(
    benchmark: str,
    *,
    description: str,
    methods: Sequence[str] = DEFAULT_METHODS,
    paper: Sequence[Path] = (),
    arguments: Sequence[str] | None = None,
) -> None:
    """Parse the command line and run the experiment.

    Args:
        benchmark: data set used unless ``--data`` says otherwise.
        description: for ``--help``.
        methods: what is compared unless ``--methods`` says otherwise.
        paper: CSV files of published figures to print beside.
        arguments: the command line; by default the program's.
    """
    run(start(benchmark, description=description, methods=methods, arguments=arguments), paper)


def start(
    benchmark: str,
    *,
    description: str,
    methods: Sequence[str] = DEFAULT_METHODS,
    arguments: Sequence[str] | None = None,
    adapt: Callable[[Experiment], Experiment] = lambda experiment: experiment,
    kept_as: str = "config.yaml",
) -> Ready:
    """Parse the command line, check all it asks for, and keep it in the output folder.

    What cannot work ends the program with one message.

    Args:
        benchmark: data set used unless ``--data`` says otherwise.
        description: for ``--help``.
        methods: what is compared unless ``--methods`` says otherwise.
        arguments: the command line; by default the program's.
        adapt: what a recipe makes of the experiment that the command line describes.
        kept_as: name of the file that keeps the command line.
    """
    parser = build_parser(benchmark, description, methods)
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        ready = prepare(adapt(build_experiment(parser, options)))
    except EXPECTED as error:
        sys.exit(f"error: {error}")
    if PartialState().is_main_process:
        save_config(parser, options, ready.experiment.output / kept_as)
    return ready


def build_parser(
    benchmark: str, description: str, methods: Sequence[str] = DEFAULT_METHODS
) -> ArgumentParser:
    """The parser; its defaults are the paper's protocol on ``benchmark``."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    add_fields(parser, "data", DataConfig(name=benchmark))
    parser.add_argument("--methods", nargs="+", default=list(methods), help=NAMES)
    parser.add_argument("--domains", nargs="+", default=[], help="domains to train on; all by default")
    parser.add_argument(
        "--test-domains", nargs="+", default=[], help="further domains to test on; all by default"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="one run for each")
    parser.add_argument(
        "--epsilon",
        type=float,
        default=0.01,
        help="radius of the attack in training and evaluation, in [0,1]",
    )
    parser.add_argument(
        "--epsilons", nargs="+", type=float, default=[], help="further radii for the evaluation"
    )
    parser.add_argument(
        "--output",
        type=Path | None,
        default=None,
        help="folder of the results, shared by all who start the same command; runs/<data> by default",
    )
    parser.add_argument(
        "--search",
        type=Path | None,
        default=None,
        help="YAML file 'method: {field: [values]}'; the best on validation data are used",
    )
    parser.add_class_arguments(ModelConfig, "model")
    parser.add_class_arguments(TrainConfig, "train")
    parser.add_class_arguments(EvaluationConfig, "evaluation", skip={"epsilons"})
    parser.add_argument(
        "--further",
        type=list[FurtherAttack],
        default=[],
        help="further attacks on the test images, such as '[{attack: auto_attack, images: 500}]'",
    )
    parser.add_class_arguments(Resources, "resources")
    for name, method in METHODS.items():
        parser.add_class_arguments(method.config_class, name, skip=SHARED)
    return parser


def build_experiment(parser: ArgumentParser, options: Namespace) -> Experiment:
    """The experiment that the options describe.

    Raises:
        UnknownNameError: a method that does not exist.
        ValueError: an option out of its range.
    """
    built = parser.instantiate(options)
    data = pop_fields(vars(built), "data", DataConfig)
    configs = {name: facing(built.epsilon, built[name]) for name in METHODS}
    return Experiment(
        variants=variants(built.methods, configs),
        domains=tuple(built.domains),
        test_domains=tuple(built.test_domains),
        seeds=tuple(built.seeds),
        model=built.model,
        data=data,
        train=dataclasses.replace(
            built.train, mixed_precision=launched_precision(built.train.mixed_precision)
        ),
        evaluation=dataclasses.replace(
            built.evaluation, epsilons=tuple(sorted({built.epsilon, *built.epsilons}))
        ),
        epsilon=built.epsilon,
        further=tuple(built.further),
        resources=built.resources,
        output=built.output or Path("runs") / data.name.replace("/", "--"),
        grid=Grid.read(built.search) if built.search else None,
    )


def save_config(parser: ArgumentParser, options: Namespace, path: Path) -> None:
    """Write the options as YAML that ``--config`` reads back to the same options."""
    kept = {name: value for name, value in options.as_dict().items() if name != "config"}
    kept["train"] = {**kept["train"], "mixed_precision": launched_precision(kept["train"]["mixed_precision"])}
    try:
        text = parser.dump(Namespace(**kept), skip_unset=False)
    except ValueError:  # what jsonargparse 4.49 says to an argument that it does not know
        text = parser.dump(Namespace(**kept), skip_none=False)
    atomic_write_text(path, text)


def launched_precision(chosen: str | None) -> Any:
    """The precision chosen, else that of ``accelerate launch``; it is part of a run's name."""
    return chosen or os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
