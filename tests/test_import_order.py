"""Inside the package, imports go down the list of packages only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import egat_hub

PACKAGE = Path(egat_hub.__file__).parent

ORDER = (
    "version",
    "core",
    "models",
    "data",
    "explanations",
    "attacks",
    "methods",
    "metrics",
    "evaluation",
    "training",
    "hub",
    "experiments",
    "cli",
    "__main__",
)
"""From the ground up: each may import itself and what stands before it."""
STRANGERS = {("data", "models")}
"""Packages of one layer, which do not know each other though one stands before the other."""

FILES = sorted(PACKAGE.rglob("*.py"))


def imported_packages(source: str, module: str) -> Iterator[str]:
    """Packages that a module imports, in functions too; what only type checkers see does not count.

    `egat_hub` itself counts as a package of that name.
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
            top, *rest = name.split(".")
            if top == "egat_hub":
                yield rest[0] if rest and rest[0] in ORDER else top


def _run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield other
                yield from _run_time_nodes(other)
        else:
            yield child
            yield from _run_time_nodes(child)


def dotted(path: Path) -> str:
    return ".".join(("egat_hub", *path.relative_to(PACKAGE).with_suffix("").parts))


def test_every_package_has_a_layer():
    top = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert top == {*ORDER, "__init__"}


@pytest.mark.parametrize("path", [path for path in FILES if path.parent != PACKAGE], ids=dotted)
def test_imports_follow_the_layers(path):
    package = path.relative_to(PACKAGE).parts[0]
    allowed = set(ORDER[: ORDER.index(package) + 1]) - {low for high, low in STRANGERS if high == package}
    imported = set(imported_packages(path.read_text(encoding="utf-8"), dotted(path)))
    assert imported <= allowed, f"Move what both need to {package} or further down."


@pytest.mark.parametrize(
    ("source", "packages"),
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
        ("try:\n    import egat_hub.cli\nexcept ImportError:\n    import egat_hub.hub", ["cli", "hub"]),
        ("if TYPE_CHECKING:\n    from egat_hub.hub import push\nelse:\n    import egat_hub.data", ["data"]),
        ("from egat_hubble import hub\nimport timm.data", []),
    ],
)
def test_imports_are_found(source, packages):
    assert list(imported_packages(source, "egat_hub.methods.egat")) == packages
