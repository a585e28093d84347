"""Named things: methods, attacks, explanations, guides and data sets are looked up here by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Objects by name, with a close-match hint for a wrong name.

    Third parties add to a registry with an entry point in the group ``egat_hub.<kind>``; those are
    loaded when a name is first looked up that is not known yet, or when all names are listed.

    Args:
        kind: what the registry holds, in the plural (``"methods"``); used in messages and as the
            entry-point group.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}
        self._entry_points_loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files an object under ``name`` (lower case, underscores).

        Raises:
            ValueError: the name is not a lower-case identifier, or is taken by another object.
        """
        if not name.isidentifier() or name != name.lower():
            raise ValueError(f"A name among {self.kind} must be a lower-case identifier, got {name!r}.")

        def file(item: T) -> T:
            if name in self._items and self._items[name] is not item:
                raise ValueError(f"{name!r} among {self.kind} is already taken by {self._items[name]!r}.")
            self._items[name] = item
            return item

        return file

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            self._load_entry_points()
        try:
            return self._items[name]
        except KeyError:
            close = difflib.get_close_matches(str(name), self._items, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise UnknownNameError(
                f"No {name!r} among {self.kind}.{hint} Known: {', '.join(sorted(self._items))}."
            ) from None

    def __iter__(self) -> Iterator[str]:
        self._load_entry_points()
        return iter(sorted(self._items))

    def __len__(self) -> int:
        self._load_entry_points()
        return len(self._items)

    def __contains__(self, name: object) -> bool:
        self._load_entry_points()
        return name in self._items

    def _load_entry_points(self) -> None:
        if not self._entry_points_loaded:
            self._entry_points_loaded = True
            for entry_point in metadata.entry_points(group=f"egat_hub.{self.kind}"):
                self.register(entry_point.name)(entry_point.load())


class UnknownNameError(KeyError):
    """A name that no registry entry answers to; the message lists those that exist."""

    def __str__(self) -> str:
        return str(self.args[0])
