"""Options of a command, from its signature and docstring."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from argparse import SUPPRESS, Action, RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import Any

from docstring_parser import parse
from jsonargparse import ArgumentParser, DefaultHelpFormatter


class Without(frozenset[str]):
    """Fields of a config dataclass that are no options: ``Annotated[Config, Without("field")]``."""

    def __new__(cls, *fields: str) -> Without:
        return super().__new__(cls, fields)


class Formatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Help as it is written, so that examples keep their lines, and the default where it says something."""

    def _get_help_string(self, action: Action) -> str:
        told = action.option_strings and action.default not in (None, SUPPRESS, False, [], {})
        return f"{action.help or ''}{' (default: %(default)s)' if told else ''}"


def add_options(parser: ArgumentParser, command: Callable[..., Any]) -> None:
    """Add an option for every parameter of ``command``.

    Positional parameters are positional arguments, keyword-only ones are ``--options``. A ``bool`` is a flag,
    a tuple takes several values, and a config dataclass gives an option ``--name.field`` for each field, but
    for those of :class:`Without`, and ``--config`` for a YAML file. The help is that of the docstring.
    """
    told = parse(command.__doc__ or "")
    parser.description = told.description
    helps = {parameter.arg_name: parameter.description for parameter in told.params}
    hints = {name: hint for name, hint in _hints(command).items() if name != "return"}
    if any(dataclasses.is_dataclass(_plain(hint)) for hint in hints.values()):
        parser.add_argument("--config", action="config", help="YAML file with any of the options")
    for name, parameter in inspect.signature(command).parameters.items():
        _add(parser, parameter, hints[name], (helps[name] or "").replace("%", "%%"))


def _add(parser: ArgumentParser, parameter: inspect.Parameter, hint: Any, text: str) -> None:
    flag = f"--{parameter.name.replace('_', '-')}"
    required = parameter.default is parameter.empty
    default = None if required else parameter.default
    if dataclasses.is_dataclass(_plain(hint)):
        told = {} if default is None else {"default": dataclasses.asdict(default)}
        skip = {name for item in typing.get_args(hint)[1:] if isinstance(item, Without) for name in item}
        parser.add_class_arguments(typing.cast(type, _plain(hint)), parameter.name, skip=skip, **told)
    elif hint is bool:
        parser.add_argument(flag, action="store_true", help=text)
    elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
        if typing.get_origin(hint) is tuple:
            parser.add_argument(parameter.name, nargs="*", type=typing.get_args(hint)[0], help=text)
        else:
            parser.add_argument(parameter.name, type=hint, help=text)
    elif typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        parser.add_argument(flag, nargs="+", type=kind, default=list(default or ()), help=text)
    else:
        parser.add_argument(flag, type=hint, default=default, required=required, help=text)


def _hints(command: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(command, include_extras=True)


def _plain(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
