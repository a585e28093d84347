"""An experiment that takes seconds, by its command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

from egat_hub.experiments.command import build_experiment, build_parser, main
from egat_hub.experiments.experiment import Experiment

SYNTHETIC = ("--data", "synthetic", "--synthetic-size", "60", "--image-size", "32")
ONE_RUN = ("--methods", "erm", "--domains", "meadow", "--test-domains", "meadow", "--seeds", "0")
NETWORK = (
    "--model.name",
    "test_resnet",
    "--model.pretrained",
    "false",
    "--model.options",
    '{"output_stride": 8}',
)
QUICK = (
    *("--train.steps", "3", "--train.batch_size", "8", "--train.lr", "1e-3", "--train.validate_every", "2"),
    *("--egat.attack_steps", "1", "--evaluation.attack_options", '{"steps": 2}', "--evaluation.checks", "4"),
)


def parsed(*arguments: str) -> Experiment:
    """The experiment that a command line describes."""
    parser = build_parser("vlcs", "")
    return build_experiment(parser, parser.parse_args(list(arguments)))


def call(output: Path, *arguments: str, paper: tuple[Path, ...] = ()) -> None:
    """Run the tiny experiment; later arguments win."""
    command = [*SYNTHETIC, *ONE_RUN, *NETWORK, *QUICK, "--output", str(output), *arguments]
    main("vlcs", description="", paper=paper, arguments=command)


def elsewhere(folder: Path, *, age: float = 0.0) -> Path:
    """A claim of a process on another machine, whose last sign of life is that old."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "claim.0"
    path.write_text(json.dumps({"host": "other", "space": "", "pid": os.getpid(), "since": ""}))
    stamp = path.stat().st_mtime - age
    os.utime(path, (stamp, stamp))
    return path
