"""A sweep that takes seconds, by its command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from egat_hub.core.options import invoke, run_command
from egat_hub.data import DataConfig
from egat_hub.experiments import RunConfig, SweepOptions, compare

SYNTHETIC = ("--data", "synthetic", "--data.synthetic_size", "60", "--data.image_size", "32")
FOLDER = ("--data", "folder", "--data.synthetic_size", "1000")  # the default, which a folder does not use
ONE_RUN = ("--methods", "erm", "--domains", "meadow", "--test_domains", "meadow", "--seeds", "0")
NETWORK = ("--model", "test_resnet", "--model.pretrained", "false", "--model.options", '{"output_stride": 8}')
QUICK = (
    *("--train.steps", "3", "--train.batch_size", "8", "--train.lr", "1e-3", "--train.validate_every", "2"),
    *("--egat.attack_steps", "1", "--evaluation.attack_options", '{"steps": 2}', "--evaluation.checks", "4"),
)
TINY = (*SYNTHETIC, *ONE_RUN, *NETWORK, *QUICK)


def vlcs(options: SweepOptions) -> None:
    """Compare methods."""
    print(compare(options, PAPER).text)


PAPER: list[Path] = []


def parsed(*arguments: str) -> SweepOptions:
    """The options that a command line describes."""
    options: SweepOptions = invoke(SweepOptions, arguments, data=DataConfig("vlcs"))
    return options


def runs_of(*arguments: str) -> list[RunConfig]:
    """The runs that a command line describes."""
    options = parsed(*SYNTHETIC, *arguments)
    return options.runs(options.open_dataset())


def tiny(output: Path, *arguments: str) -> SweepOptions:
    """The options of the tiny sweep; later arguments win."""
    return parsed(*TINY, "--output", str(output), *arguments)


def call_vlcs(output: Path, *arguments: str, paper: Sequence[Path] = ()) -> None:
    """Run the tiny sweep as a program; later arguments win."""
    PAPER[:] = paper
    run_command(vlcs, [*TINY, "--output", str(output), *arguments], data=DataConfig("vlcs"))
