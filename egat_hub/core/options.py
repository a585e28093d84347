"""Command-line options from signatures, dataclasses and their docstrings.

An option of a group is ``--group.field``, such as ``--train.lr``; ``--group`` alone is the group's ``name``
(``--data vlcs``). ``-``, ``_`` and ``.`` are interchangeable: ``--data-dir`` is the same as ``--data.dir``.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
from argparse import SUPPRESS, Action, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from docstring_parser import parse
from jsonargparse import ArgumentParser, DefaultHelpFormatter

from egat_hub.core.registry import UnknownNameError, suggestion

EXPECTED = (ValueError, TypeError, OSError, ImportError, FloatingPointError, UnknownNameError)
"""Errors shown as one message; others are bugs and show a traceback."""

INTERRUPTED = "interrupted; the same command resumes"


@dataclasses.dataclass(frozen=True)
class Group:
    """How a dataclass becomes a group of options: ``Annotated[Config, Group(skip=frozenset({"field"}))]``."""

    skip: frozenset[str] = frozenset()
    """Fields that are not options."""

    classes: Callable[[], Mapping[str, type[Any]]] | None = None
    """For a mapping of configs: gives the dataclasses by the names of their groups."""


class Formatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Help with line breaks in examples, and with defaults unless they are empty."""

    def _get_help_string(self, action: Action) -> str:
        empty = action.default in ([], {}, SUPPRESS) or action.default is None or action.default is False
        default = " (default: %(default)s)" if action.option_strings and not empty else ""
        return f"{plain_text(action.help or '')}{default}"


class Parser(ArgumentParser):
    """A parser whose errors are one line, with a suggestion."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=Formatter, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print an error and exit."""
        parser = getattr(ex, "subcommand_parser", None) or self
        program = parser.prog.replace(" [options]", "")
        text = re.sub(r'^Parser key "([^"]+)":', r"--\1:", " ".join(message.split()))
        text = re.sub(r"<class '([\w.]+)'>", r"\1", text).replace("typing.", "")
        chosen = re.search(r"invalid choice: '(\w+)' \(choose from (.*)\)", text)
        if chosen:
            hint = suggestion(chosen[1], re.findall(r"\w+", chosen[2]))
            text = f"No command {chosen[1]!r}.{hint}"
        self.exit(2, f"error: {text} ('{program} --help' lists the options)\n")


def add_options(parser: ArgumentParser, command: Callable[..., Any], **defaults: Any) -> None:
    """Add an option for every parameter of a command, a function with type hints.

    Positional parameters become positional arguments, keyword-only ones ``--options``. A ``bool`` is a flag,
    a tuple takes several values, and a dataclass gives a :class:`Group` of options. A command with the single
    parameter ``options``, a dataclass, has that class's fields as options. Help comes from the docstrings.
    With any group there is ``--config`` for a YAML file. ``defaults`` replace those of the signature.
    """
    owner, hints = _owner(command), _hints(_owner(command))
    parser.description = parse(command.__doc__ or "").description
    docs = [owner] if inspect.isfunction(owner) else inspect.getmro(typing.cast(type, owner))[::-1]
    helps = {text.arg_name: text.description for doc in docs for text in parse(doc.__doc__ or "").params}
    if any(dataclasses.is_dataclass(kind) for kind, _ in hints.values()):
        parser.add_argument("--config", action="config", help="YAML file with any of the options")
    for name, parameter in inspect.signature(owner).parameters.items():
        chosen = parameter.replace(default=defaults.get(name, parameter.default))
        _add(parser, chosen, *hints[name], (helps[name] or "").replace("%", "%%"))


def spelled(parser: ArgumentParser, words: Sequence[str]) -> list[str]:
    """Words of a command line, with options spelled as in the parser and fractions as decimal numbers.

    An unknown option is an error that suggests a known one.
    """
    actions = {option: action for action in parser._actions for option in action.option_strings}
    spellings = {_key(option): option for option in actions if not option.endswith(".help")}
    spellings |= {_key(name.removesuffix(".name")): name for name in actions if name.endswith(".name")}
    found, numeric = [], False
    for word in words:
        option, equals, value = word.partition("=")
        if option.startswith("--") and option not in ("--help", "--version") and not option.endswith(".help"):
            option = spellings.get(_key(option)) or _within(parser, option, spellings)
            action = actions.get(option)
            numeric = "float" in str(getattr(action, "_typehint", None) or getattr(action, "type", "float"))
        elif numeric:
            option = _decimal(option)
        found.append(f"{option}{equals}{_decimal(value) if numeric else value}")
    return found


def _within(parser: ArgumentParser, option: str, spellings: Mapping[str, str]) -> str:
    """An option for a key of a dictionary, such as ``--evaluation.attack_options.steps``; else an error."""
    key = _key(option)
    for known, name in spellings.items():
        group = any(other.startswith(f"{known}.") for other in spellings)
        if key.startswith(f"{known}.") and not group:
            return f"{name}{option[2 + len(known) :]}"
    ends = [name for known, name in spellings.items() if known.rpartition(".")[2] == key]
    hint = f" Did you mean {ends[0]!r}?" if ends else suggestion(option, spellings.values())
    parser.error(f"No option {option}.{hint}")


def _decimal(word: str) -> str:
    """A fraction such as 8/255 as a decimal number; any other word as it is."""
    number = re.fullmatch(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)", word)
    return repr(float(number[1]) / float(number[2])) if number else word


def message_of(error: BaseException) -> str | None:
    """What an error says to the user, on one line; None for a bug, whose traceback should be seen."""
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return (
            f"Out of memory: {text.splitlines()[0] if text else ''} Lower the batch size or the image size."
        )
    if isinstance(error, RuntimeError) and ("unexpected pos" in text or "PytorchStreamWriter" in text):
        return "A file could not be written; is the disk full?"
    if not isinstance(error, EXPECTED):
        return None
    if "Original Traceback" in text:  # of a process that loads images
        text = text.strip().splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())


def call(command: Callable[..., Any], parsed: Mapping[str, Any]) -> Any:
    """Call a command with the parsed and instantiated options of :func:`add_options`."""
    owner = _owner(command)
    values = {name: value for name, value in parsed.items() if name != "config"}
    for name, (kind, group) in _hints(owner).items():
        if group.classes:
            values[name] = {one: values.pop(one) for one in group.classes()}
        elif typing.get_origin(kind) is tuple:
            values[name] = tuple(values[name])
    return command(**values) if owner is command else command(owner(**values))


def invoke(
    command: Callable[..., Any], words: Sequence[str], *, description: str | None = None, **defaults: Any
) -> Any:
    """Parse a command line and call the command, or make the dataclass, whose options it has.

    ``description`` is the help text, by default the command's docstring; ``defaults`` are those of
    :func:`add_options`.
    """
    parser = Parser()
    add_options(parser, command, **defaults)
    parser.description = description or parser.description
    return call(command, vars(parser.instantiate(parser.parse_args(spelled(parser, words)))))


def run_command(command: Callable[..., Any], arguments: Sequence[str] | None = None, **settings: Any) -> None:
    """Run a program that is one command, as :func:`invoke`; expected errors end it with one message."""
    try:
        invoke(command, sys.argv[1:] if arguments is None else arguments, **settings)
    except Exception as error:
        message = message_of(error)
        if message is None:
            raise
        sys.exit(f"error: {message}")
    except KeyboardInterrupt:
        sys.exit(f"error: {INTERRUPTED}")


def _add(parser: ArgumentParser, parameter: inspect.Parameter, kind: Any, group: Group, text: str) -> None:
    flag = f"--{parameter.name}"
    required = parameter.default is parameter.empty
    default = None if required else parameter.default
    item = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else None
    if group.classes:
        for name, config in group.classes().items():
            _add_group(parser, name, config, None, set(group.skip))
    elif dataclasses.is_dataclass(kind):
        _add_group(parser, parameter.name, typing.cast(type, kind), default, set(group.skip))
    elif kind is bool:
        parser.add_argument(flag, action="store_true", help=text)
    elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
        parser.add_argument(parameter.name, nargs="*" if item else None, type=item or kind, help=text)
    elif item and not dataclasses.is_dataclass(item):
        parser.add_argument(flag, nargs="+", type=item, default=list(default or ()), help=text)
    elif item:
        parser.add_argument(flag, type=list[item], default=list(default or ()), help=text)  # type: ignore[valid-type]
    else:
        parser.add_argument(flag, type=kind, default=default, required=required, help=text)


def _add_group(parser: ArgumentParser, name: str, config: type[Any], default: Any, skip: set[str]) -> None:
    chosen = {} if default is None else dataclasses.asdict(default)
    values = {field: value for field, value in chosen.items() if field not in skip}
    parser.add_class_arguments(config, name, skip=skip, **({"default": values} if values else {}))
    for action in parser._actions:
        if action.option_strings == [f"--{name}"]:  # jsonargparse's option for a file of the group
            action.help = SUPPRESS
    for group in parser._action_groups:
        group.title = plain_text(group.title or "")


def _owner(command: Callable[..., Any]) -> Callable[..., Any]:
    """The callable whose parameters are the options: the command, or the dataclass that it takes."""
    single = list(inspect.signature(command).parameters) == ["options"]
    return typing.cast(Callable[..., Any], _hints(command)["options"][0]) if single else command


def _hints(command: Callable[..., Any]) -> dict[str, tuple[Any, Group]]:
    """Types and groups of parameters."""
    found = {}
    for name, hint in typing.get_type_hints(command, include_extras=True).items():
        kind, *extras = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        found[name] = kind, next((extra for extra in extras if isinstance(extra, Group)), Group())
    found.pop("return", None)
    return found


def plain_text(text: str) -> str:
    """A docstring's text without markup."""
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("``", "").replace("`", "")


def _key(option: str) -> str:
    return re.sub(r"[-_.]+", ".", option.lstrip("-"))
