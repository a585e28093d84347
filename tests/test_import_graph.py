"""Inside the package, imports go down the list of rooms only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import egat_hub

PACKAGE = Path(egat_hub.__file__).parent

ORDER = (
    # level 0: named things, configuration, result rows
    {"after_import", "lazy", "version", "whole_file"},
    {
        "collective",
        "cores",
        "config",
        "images",
        "json_file",
        "last_block",
        "model_name",
        "modes",
        "randomness",
        "registry",
        "results",
        "whole_folder",
    },
    {"options"},
    # level 1: networks cut in two, networks in pixel space, BatchNorm folded away, guide maps
    {"cutting"},
    {"backbone", "folding", "guides"},
    # level 2: where a model looks, how it is fooled, and what befalls images
    {"attacks", "corruptions", "diffusion", "explanations", "fingerprint", "passes"},
    {"manifest", "overlay", "training_attacks"},
    # level 3: training methods, data sets, figures
    {"data", "methods", "metrics"},
    {"explanation_attacks"},
    # level 4: training loop, checkpoints, evaluation
    {"engine", "explained", "timm_folder"},
    # level 5: publish, load, list, draw
    {"card_tables", "classifier"},
    {"card_header", "eval_results", "judged_images", "plots"},
    {"cards"},
    {"hub"},
    {"zoo"},
    # level 6: experiments and the command line
    {"experiments"},
    {"finetuning"},
    {"cli"},
)
"""Rooms from the ground up; those of one line do not know each other."""

HEIGHT = {room: height for height, rooms in enumerate(ORDER) for room in rooms}

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imported_rooms(source: str, module: str) -> Iterator[str]:
    """Rooms that a module imports, in functions too; what only type checkers see does not count.

    ``egat_hub`` itself counts as a room of that name.
    """
    for node in _run_time_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            base = ".".join(parents + ([node.module] if node.module else []))
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "egat_hub" else [base]
        else:
            continue
        for name in names:
            package, *rest = name.split(".")
            if package == "egat_hub":
                yield rest[0] if rest and _is_room(rest[0]) else package


def _is_room(name: str) -> bool:
    return name in HEIGHT or (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def _run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield other
                yield from _run_time_nodes(other)
        else:
            yield child
            yield from _run_time_nodes(child)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def dotted(path: Path) -> str:
    return ".".join(("egat_hub", *path.relative_to(PACKAGE).with_suffix("").parts))


@pytest.mark.parametrize("room", sorted({room_of(path) for path in FILES}))
def test_every_room_has_its_place(room):
    assert room in HEIGHT, f"egat_hub/{room} is new: give it a level in ORDER of {Path(__file__).name}."


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_imports_go_down(path):
    room = room_of(path)
    for imported in imported_rooms(path.read_text(encoding="utf-8"), dotted(path)):
        assert imported != "egat_hub", f"{dotted(path)} imports the package itself, which imports everything."
        assert imported in HEIGHT, f"egat_hub/{imported} is new: give it a level in ORDER of this file."
        assert imported == room or HEIGHT[imported] < HEIGHT[room], (
            f"{dotted(path)} imports {imported}, which is not below {room}: move what both need further down."
        )


@pytest.mark.parametrize(
    ("source", "rooms"),
    [
        ("import os, egat_hub.data.images", ["data"]),
        ("from egat_hub.hub import push", ["hub"]),
        ("from egat_hub import hub, EGAT", ["hub", "egat_hub"]),
        ("import egat_hub as eh", ["egat_hub"]),
        ("from .base import Method", ["methods"]),
        ("from . import base", ["methods"]),
        ("from ..attacks import PGD", ["attacks"]),
        ("from .. import attacks", ["attacks"]),
        ("def f():\n    from egat_hub.hub import push", ["hub"]),
        ("try:\n    import egat_hub.zoo\nexcept ImportError:\n    import egat_hub.hub", ["zoo", "hub"]),
        ("if TYPE_CHECKING:\n    from egat_hub.hub import push\nelse:\n    import egat_hub.data", ["data"]),
        ("from egat_hubble import hub\nimport timm.data", []),
    ],
)
def test_imports_are_found(source, rooms):
    assert list(imported_rooms(source, "egat_hub.methods.egat")) == rooms
