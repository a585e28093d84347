"""What a command has to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command has to say, for people and for programs.

    Attributes:
        text: what is printed.
        data: what is printed instead with ``--json``; of JSON types.
        problems: what went wrong with single images and the like while the rest went on.
    """

    text: str
    data: Any
    problems: tuple[str, ...] = ()
