"""Whether two sizes can be those of one picture."""

from __future__ import annotations

Size = tuple[int, int]
"""(width, height) in pixels."""


def same_aspect(size: Size, other: Size) -> bool:
    """Whether one size is the other, enlarged or reduced, with a side rounded by at most a pixel."""
    (width, height), (other_width, other_height) = size, other
    return abs(width * other_height - height * other_width) <= max(*size, *other)
