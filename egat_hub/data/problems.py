"""Many problems in one message."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 5


def first_of(problems: Sequence[str]) -> str:
    """The first five problems, a line each, and how many more there are."""
    lines = [f"  {problem}" for problem in problems[:_SHOWN]]
    more = [f"  ... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return "\n".join(lines + more)
