"""A config says so when a field holds none of its choices."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest

from egat_hub.core.config import check_choices


@dataclasses.dataclass(frozen=True)
class Choice:
    kind: Literal["a", "b", 3] = "a"
    maybe: Literal["x"] | None = None
    free: str = "anything"


@pytest.mark.parametrize("choice", [Choice(), Choice("b", "x"), Choice(3), Choice(free="else")])
def test_choices_that_exist_pass(choice):
    check_choices(choice)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice("c"), "Expected kind among 'a', 'b', 3, got 'c'."),
        (Choice("a", "y"), "Expected maybe among 'x', got 'y'."),
    ],
)
def test_choices_that_do_not_exist_raise(choice, message):
    with pytest.raises(ValueError, match=message):
        check_choices(choice)
