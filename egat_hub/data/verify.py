"""Decode every image once before training, so that a damaged file cannot end a run halfway."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from tqdm.auto import tqdm

from egat_hub.data.domains import Domain, first_of
from egat_hub.data.images import UnreadableImageError


def verify(domains: Iterable[Domain]) -> None:
    """Decode all images and masks of ``domains`` completely, in threads.

    Raises:
        UnreadableImageError: some cannot be used; the message has their number and the first five.
    """
    positions = [(domain, index) for domain in domains if domain.stored for index in range(len(domain))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        progress = tqdm(
            pool.map(_problem, positions),
            total=len(positions),
            desc="Checking images",
            leave=False,
            disable=not positions,
        )
        problems = [problem for problem in progress if problem]
    if problems:
        raise UnreadableImageError(
            f"{len(problems)} of {len(positions)} images cannot be used:\n{first_of(problems)}\n"
            "Replace these files or remove them together with their masks."
        )


def _problem(position: tuple[Domain, int]) -> str | None:
    domain, index = position
    try:
        domain.load(index)
    except UnreadableImageError as error:
        return str(error)
    return None
