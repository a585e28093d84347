"""Parse the command line, run one command, print its answer."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import warnings
from argparse import SUPPRESS
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

from jsonargparse import ArgumentParser

from egat_hub.core.options import INTERRUPTED, Parser, add_options, call, message_of, spelled


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Result of a command.

    Attributes:
        text: text to print.
        data: what is printed instead with ``--json``; of JSON types.
        problems: errors of single images and the like, while the rest went on.
    """

    text: str
    data: Any
    problems: tuple[str, ...] = ()


COMMANDS = {
    "train": "train a network by one method on one domain, evaluate and save it",
    "finetune": "fine-tune a model on new images, and compare before and after",
    "sweep": "train and compare methods over domains and seeds, here, on Ray or on Slurm",
    "evaluate": "measure accuracy, robustness and explanations of a model",
    "explain": "predict classes of images, and show where the model looks",
    "attack": "generate adversarial images and verify the saved files",
    "sample": "write test images of a data set to a folder, to try commands on",
    "list": "list models, methods, attacks or explanations, or compare models",
    "card": "write the model card of a saved model",
    "pull": "download a model from the Hub",
    "push": "push a saved model to the Hub",
    "doctor": "check the installation",
}
"""Commands and their descriptions; each is a function in the module of its name, or in that of MODULES."""

MODULES = {
    **dict.fromkeys(("train", "finetune", "sweep"), "runs"),
    **dict.fromkeys(("card", "pull", "push"), "publishing"),
}

DESCRIPTION = "Image classifiers that are robust to attacks and explain their predictions."
HELP_ALL = "--help-all"
EPILOG = "'egat-hub COMMAND --help' shows the options of a command, with an example."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, print its answer on stdout and the rest on stderr; return 1 after an error, else 0.

    Raises:
        SystemExit: help (0), or a command line that cannot be read (2).
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        parser, command = build_parser(words)
        words = ["--help" if word == HELP_ALL else word for word in words]
        parsed = parser.parse_args(spelled(command, words))
        options = vars(parser.instantiate(parsed)[parsed.command]).copy()
        as_json = options.pop("json")
        with _only_answers_on_stdout():
            answer = call(_command(parsed.command), options)
        if os.environ.get("RANK", "0") == "0":  # core.distributed would import PyTorch
            print(json.dumps(answer.data, indent=2) if as_json else answer.text, flush=True)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        message = message_of(error)
        if message is None:
            raise
        return _fail(message)
    except KeyboardInterrupt:
        return _fail(INTERRUPTED)
    for problem in answer.problems:
        _fail(problem)
    return 1 if answer.problems else 0


def build_parser(words: Sequence[str]) -> tuple[ArgumentParser, ArgumentParser]:
    """The parser for a command line, and that of its command; only the command in ``words`` is imported."""
    chosen = next((word for word in words if not word.startswith("-")), None)
    parser = Parser(prog="egat-hub", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=metadata.version("egat-hub"))
    commands = parser.add_subcommands(dest="command", metavar="COMMAND", required=True)
    command: ArgumentParser = parser
    for name, summary in COMMANDS.items():
        options = Parser()
        if name == chosen:
            command = options
            add_options(options, _command(name))
            options.add_argument("--json", action="store_true", help="print JSON instead of text")
            if HELP_ALL not in words:
                _shorten_help(options, name)
        commands.add_subcommand(name, options, help=summary)
    return parser, command


def _shorten_help(parser: ArgumentParser, command: str) -> None:
    """Leave the settings of groups out of the help, but for their names."""
    places = " ".join(action.dest for action in parser._actions if not action.option_strings)
    hidden = []
    for action in parser._actions:
        option = "".join(action.option_strings[:1])
        if "." in option and not option.endswith((".name", ".dir")):
            action.help = SUPPRESS
            hidden.append(option.partition(".")[0])
    shown = {"".join(action.option_strings[:1]) for action in parser._actions if action.help is not SUPPRESS}
    for group in parser._action_groups:
        group.description = None
    parser.usage = f"egat-hub {command} {places} [options]".replace("  ", " ")
    if hidden:
        groups = ", ".join(f"{name}.*" for name in dict.fromkeys(hidden) if name not in shown)
        parser.epilog = f"Further settings, shown by 'egat-hub {command} {HELP_ALL}': {groups}"


def _command(name: str) -> Callable[..., Answer]:
    return getattr(import_module(f"egat_hub.cli.{MODULES.get(name, name)}"), name)


def _fail(problem: object) -> int:
    print(f"error: {' '.join(str(problem).split())}", file=sys.stderr)
    return 1


@contextlib.contextmanager
def _only_answers_on_stdout() -> Iterator[None]:
    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)

    logger, progress = logging.getLogger("egat_hub"), logging.StreamHandler(sys.stderr)
    level = logger.level
    logger.addHandler(progress)
    logger.setLevel(logging.INFO)
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.showwarning = show
            yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(progress)
