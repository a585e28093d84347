"""Names as people spell them: case, spaces, underscores and hyphens do not count, and aliases are known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from egat_hub.registry import UnknownNameError


def fold(name: str) -> str:
    """``name`` in lower case with letters and digits only: ``"Location 38"`` -> ``"location38"``."""
    return "".join(character for character in name.casefold() if character.isalnum())


def resolve(name: str, known: Iterable[str], *, aliases: Mapping[str, str] | None = None, kind: str) -> str:
    """The one of ``known`` that ``name`` means.

    Args:
        name: a name as somebody wrote it.
        known: the names as this package writes them.
        aliases: further names, each with the known one it stands for.
        kind: what is named, in the plural, for the message.

    Raises:
        UnknownNameError: nothing answers to ``name``; the message has the closest match.
    """
    known = tuple(known)
    if name in known:
        return name
    spellings = {fold(alias): target for alias, target in (aliases or {}).items() if target in known}
    spellings |= {fold(target): target for target in known}
    if fold(name) in spellings:
        return spellings[fold(name)]
    close = difflib.get_close_matches(fold(name), spellings, n=1)
    hint = f" Did you mean {spellings[close[0]]!r}?" if close else ""
    raise UnknownNameError(f"No {name!r} among {kind}.{hint} Known: {', '.join(known)}.")
