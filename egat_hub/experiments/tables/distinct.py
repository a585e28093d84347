"""Titles that tell apart what differs in its settings alone."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def distinct(titles: Mapping[K, str], settings: Mapping[K, str]) -> dict[K, str]:
    """The titles; those that several have get their own settings in brackets.

    Args:
        titles: by key.
        settings: by the same keys, as ``protocol_text`` writes them.
    """
    told = dict(titles)
    for title in set(titles.values()):
        same = [key for key in titles if titles[key] == title]
        if len(same) > 1:
            shared = set.intersection(*(set(settings[key].split(", ")) for key in same))
            for key in same:
                own = [part for part in settings[key].split(", ") if part not in shared]
                told[key] = f"{title} ({', '.join(own)})" if own else title
    return told
