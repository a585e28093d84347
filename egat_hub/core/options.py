"""Options of a command line, from signatures, config dataclasses and their docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from argparse import SUPPRESS, Action, RawDescriptionHelpFormatter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from docstring_parser import parse
from jsonargparse import ArgumentParser, DefaultHelpFormatter

from egat_hub.core.registry import UnknownNameError

EXPECTED = (ValueError, TypeError, OSError, ImportError, FloatingPointError, UnknownNameError)
"""Errors whose message says what to do; anything else is a fault of this package and shows its traceback."""


class Without(frozenset[str]):
    """Fields of a config dataclass that are no options: ``Annotated[Config, Without("field")]``."""

    def __new__(cls, *fields: str) -> Without:
        return super().__new__(cls, fields)


class Flat:
    """Fields of a config as ``--field``: ``Annotated[Config, Flat()]``; ``name`` goes by the parameter's."""


class Formatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Help as it is written, so that examples keep their lines, and the default where it says something."""

    def _get_help_string(self, action: Action) -> str:
        told = action.option_strings and action.default not in (None, SUPPRESS, False, [], {})
        return f"{action.help or ''}{' (default: %(default)s)' if told else ''}"


def add_options(parser: ArgumentParser, command: Callable[..., Any]) -> None:
    """Add an option for every parameter of ``command``.

    Positional parameters are positional arguments, keyword-only ones are ``--options``. A ``bool`` is a flag,
    a tuple takes several values, and a config dataclass gives an option ``--name.field`` for each field (with
    :class:`Flat`, ``--field``), but for those of :class:`Without`, and ``--config`` for a YAML file. The help
    is that of the docstrings.
    """
    told = parse(command.__doc__ or "")
    parser.description = told.description
    helps = {parameter.arg_name: parameter.description for parameter in told.params}
    hints = {name: hint for name, hint in _hints(command).items() if name != "return"}
    if any(dataclasses.is_dataclass(_plain(hint)) for hint in hints.values()):
        parser.add_argument("--config", action="config", help="YAML file with any of the options")
    for name, parameter in inspect.signature(command).parameters.items():
        _add(parser, parameter, hints[name], (helps[name] or "").replace("%", "%%"))


def add_fields(parser: ArgumentParser, name: str, default: Any, skip: Collection[str] = ()) -> None:
    """Add an option for every field of a config dataclass.

    Args:
        parser: gets the options.
        name: what the field ``name`` of the config goes by; all others keep their names.
        default: a config with the defaults.
        skip: fields that are no options.
    """
    helps = {told.arg_name: told.description or "" for told in parse(type(default).__doc__ or "").params}
    hints = typing.get_type_hints(type(default))
    for field, option in _option_names(type(default), name, skip).items():
        text = helps[field].replace("%", "%%").replace("``", "").replace('"', "")
        flag, value = f"--{option.replace('_', '-')}", getattr(default, field)
        parser.add_argument(flag, type=hints[field], default=value, help=text)


def pop_fields(options: dict[str, Any], name: str, config: type[Any], skip: Collection[str] = ()) -> Any:
    """The config that options of :func:`add_fields` describe; they are taken out of ``options``."""
    names = _option_names(config, name, skip)
    return config(**{field: options.pop(option) for field, option in names.items()})


def called(command: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Call ``command`` with what was parsed by the options of :func:`add_options`."""
    options = {key: value for key, value in options.items() if key != "config"}
    for name, hint in _hints(command).items():
        if _is_flat(hint):
            options[name] = pop_fields(options, name, _plain(hint), _left_out(hint))
    return command(**options)


def run(command: Callable[..., Any], arguments: Sequence[str] | None = None) -> None:
    """A program that is one function: parse its options and call it; what cannot work ends in one message.

    Args:
        command: as for :func:`add_options`.
        arguments: the command line; by default the program's.
    """
    parser = ArgumentParser(formatter_class=Formatter)
    add_options(parser, command)
    try:
        called(command, vars(parser.instantiate(parser.parse_args(arguments))))
    except EXPECTED as error:
        sys.exit(f"error: {error}")


def _add(parser: ArgumentParser, parameter: inspect.Parameter, hint: Any, text: str) -> None:
    flag = f"--{parameter.name.replace('_', '-')}"
    required = parameter.default is parameter.empty
    default = None if required else parameter.default
    if dataclasses.is_dataclass(_plain(hint)):
        told = {} if default is None else {"default": dataclasses.asdict(default)}
        if _is_flat(hint):
            add_fields(parser, parameter.name, default, _left_out(hint))
        else:
            config = typing.cast(type, _plain(hint))
            parser.add_class_arguments(config, parameter.name, skip=_left_out(hint), **told)
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


def _option_names(config: type[Any], name: str, skip: Collection[str]) -> dict[str, str]:
    """Names of options by field."""
    fields = [field.name for field in dataclasses.fields(config) if field.name not in skip]
    return {field: name if field == "name" else field for field in fields}


def _is_flat(hint: Any) -> bool:
    return any(isinstance(item, Flat) for item in typing.get_args(hint)[1:])


def _left_out(hint: Any) -> set[str]:
    return {name for item in typing.get_args(hint)[1:] if isinstance(item, Without) for name in item}


def _plain(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
