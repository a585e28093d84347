"""Registries: methods, attacks, explanations, data sets and others by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from typing import Generic, TypeVar

T = TypeVar("T")


def suggestion(word: str, known: Iterable[str]) -> str:
    """A sentence with the closest of the known words, after a space; empty if none is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


class Registry(Mapping[str, T], Generic[T]):
    """Objects by name, in a read-only mapping; unknown names raise an error with the closest match.

    Other packages add to a registry with an entry point in the group ``egat_hub.<kind>``. Entry points are
    loaded when all names are listed, or when a name is not registered yet.

    Args:
        kind: what the registry contains, in the plural (``"methods"``).
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}
        self._entry_points_loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers an object under a lower-case identifier that is not taken yet."""
        if not name.isidentifier() or name != name.lower():
            raise ValueError(f"A name among {self.kind} must be a lower-case identifier, got {name!r}.")

        def add(item: T) -> T:
            if name in self._items and self._items[name] is not item:
                raise ValueError(f"{name!r} among {self.kind} is already taken by {self._items[name]!r}.")
            self._items[name] = item
            return item

        return add

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            self._load_entry_points()
        try:
            return self._items[name]
        except KeyError:
            hint = suggestion(str(name), self._items)
            raise UnknownNameError(
                f"No {name!r} among {self.kind}.{hint} Known: {', '.join(sorted(self._items))}."
            ) from None

    def __iter__(self) -> Iterator[str]:
        self._load_entry_points()
        return iter(sorted(self._items))

    def __len__(self) -> int:
        self._load_entry_points()
        return len(self._items)

    def _load_entry_points(self) -> None:
        if not self._entry_points_loaded:
            self._entry_points_loaded = True
            for entry_point in metadata.entry_points(group=f"egat_hub.{self.kind}"):
                self.register(entry_point.name)(entry_point.load())


class UnknownNameError(KeyError):
    """No entry of this name; the message lists the existing names."""

    def __str__(self) -> str:
        return str(self.args[0])
