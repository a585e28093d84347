"""Programs that ``accelerate launch`` starts on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAUNCH = (sys.executable, "-m", "accelerate.commands.launch")
CONFIGS = ROOT / "recipes" / "accelerate_configs"
LOCAL = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}


def launched(config: str, *program: str, seconds: float = 400) -> subprocess.CompletedProcess[str]:
    """The end of a program that was started with a configuration."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return subprocess.run(
        [*LAUNCH, "--config_file", str(CONFIGS / config), "--main_process_port", port, *program],
        cwd=ROOT,
        env={**os.environ, **LOCAL},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
