"""Steps leave nothing behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from egat_hub.training import loop as training
from tests.helpers.training import fit, method

ROOT = Path(__file__).parents[2]
STEPS, WARM, ALLOWED_KIB = 120, 40, 4 * 1024


def main(folder: str) -> None:
    """Train and print live tensors and resident memory, twenty steps apart."""
    torch.set_num_threads(1)
    step_of, steps = training._step, 0

    def step(*args):
        nonlocal steps
        parts = step_of(*args)
        steps += 1
        if steps >= WARM and steps % 20 == 0:
            gc.collect()
            live = sum(isinstance(item, torch.Tensor) for item in gc.get_objects())
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            print(live, pages * os.sysconf("SC_PAGE_SIZE") // 1024)
        return parts

    training._step = step
    config = {"steps": STEPS, "batch_size": 4, "validate_every": STEPS}
    fit(method("egat"), Path(folder), resources={"log_every": 50, "checkpoint_every": STEPS}, **config)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of a process from /proc")
def test_training_does_not_leak_memory(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.test_memory", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [line for line in done.stdout.splitlines() if "left" not in line]  # of progress
    live, resident = zip(*(map(int, line.split()) for line in lines), strict=True)
    assert len(live) == 5
    assert len(set(live)) == 1, live
    assert resident[-1] - resident[0] < ALLOWED_KIB, resident


if __name__ == "__main__":
    main(*sys.argv[1:])
