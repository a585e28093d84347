"""Train in child processes that are killed again and again, until one of them is let finish.

python -m tests.training.killed_run FOLDER
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import torch
import tqdm
from safetensors.torch import save_file

from tests.helpers.training import domain, fit, method, network

STEPS = 36
KILLS = 9
AT_A_WRITE = 4


def attempt(folder: Path) -> int:
    """A child process that trains from the newest checkpoint and then saves its weights."""
    child = os.fork()
    if child:
        return child
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    code = 1
    try:
        trained = fit(
            method("egat", network(drop_rate=0.1)),
            folder,
            steps=STEPS,
            validate_every=3,
            ema_decay=0.8,
            resources={"checkpoint_every": 2},
        )
        save_file(trained.model.state_dict(), folder / "final.safetensors")
        best = {"best_step": trained.best_step, "val_accuracy": trained.val_accuracy}
        (folder / "final.json").write_text(json.dumps(best))
        code = 0
    finally:
        os._exit(code)


def wait_for_a_write(folder: Path) -> None:
    """Until a checkpoint is being written that was not when the child began."""
    before, end = inode(folder), time.monotonic() + 20
    while inode(folder) in (None, before) and time.monotonic() < end:
        time.sleep(2e-4)


def inode(folder: Path) -> tuple[int, int] | None:
    try:
        partial = (folder / "checkpoints" / "partial").stat()
        return partial.st_ino, partial.st_mtime_ns
    except FileNotFoundError:
        return None


def wait_a_while(folder: Path, seconds: float) -> None:
    """For ``seconds``, but for no more than five steps."""
    end, steps = time.monotonic() + seconds, step_of(folder)
    while time.monotonic() < end and step_of(folder) < steps + 5:
        time.sleep(1e-3)


def step_of(folder: Path) -> int:
    log = folder / "log.jsonl"
    return log.read_text().count('"loss"') if log.exists() else 0


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    tqdm.tqdm.monitor_interval = 0  # no thread, so that forking is safe
    tqdm.tqdm.set_lock(threading.RLock())  # tqdm's own is shared with children, which may die holding it
    domain()
    chance = random.Random(0)
    at_a_write = [n % 2 == 1 and n < 2 * AT_A_WRITE for n in range(KILLS)]
    interrupted = killed = 0
    for write in at_a_write:
        child = attempt(folder / "killed")
        if write:
            wait_for_a_write(folder / "killed")
            time.sleep(chance.choice((0, 1e-3, 3e-3, 1e-2)))
        else:
            wait_a_while(folder / "killed", chance.uniform(0.02, 0.8))
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        interrupted += write and inode(folder / "killed") is not None
    codes = [os.waitpid(attempt(folder / name), 0)[1] for name in ("killed", "whole")]
    print(json.dumps({"killed": killed, "interrupted": interrupted, "codes": codes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
