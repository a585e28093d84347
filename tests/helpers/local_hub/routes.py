"""Requests, answers, and which function answers which request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple


class Request(NamedTuple):
    method: str
    token: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Answer(NamedTuple):
    content: Any
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012


Route = Callable[..., Answer]
ROUTES: list[tuple[str, re.Pattern[str], Route]] = []


def route(methods: str, pattern: str) -> Callable[[Route], Route]:
    def register(function: Route) -> Route:
        for method in methods.split():
            ROUTES.append((method, re.compile(pattern), function))
        return function

    return register
