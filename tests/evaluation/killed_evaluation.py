"""An evaluation that is killed before its third batch."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from egat_hub.core.results import Row
from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.evaluation.config import measure
from tests.helpers.training import network, view

DONE = 2


def rows(journal: Path | None, *, batch_size: int = 3, seed: int = 0, **settings: Any) -> list[Row]:
    config = EvaluationConfig(
        epsilons=(0.002, 0.01), attack_options={"steps": 2}, batch_size=batch_size, checks=0, **settings
    )
    return evaluate(network(seed=seed), view("test"), config, journal=journal)


def main(journal: Path) -> None:
    calls = 0

    def killing(*args: Any, **options: Any) -> Any:
        nonlocal calls
        if calls == DONE:
            os.kill(os.getpid(), signal.SIGKILL)
        calls += 1
        return measure(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[evaluate.__module__], "measure", killing)
        rows(journal)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
