"""Lines that are told apart without colour."""

from __future__ import annotations

from typing import Any

STYLES: tuple[tuple[str, Any, str], ...] = (
    ("o", "-", "#000000"),
    ("s", "--", "#c1440e"),
    ("^", "-.", "#1f6fb4"),
    ("D", ":", "#3a8f4d"),
    ("v", (0, (5, 1, 1, 1, 1, 1)), "#8b5fbf"),
    ("P", (0, (1, 3)), "#7a7a7a"),
)


def line_style(number: int) -> dict[str, Any]:
    """Marker, dashes and colour of the line of a number; they repeat after six."""
    marker, dashes, colour = STYLES[number % len(STYLES)]
    return {"marker": marker, "linestyle": dashes, "color": colour}
