"""Train in two processes, the second of which is killed in its fifth step, or not ("whole").

accelerate launch --config_file two_cpus.yaml -m tests.training.killed_rank FOLDER [whole]
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from egat_hub.core.distributed import join_processes, rank
from egat_hub.training import loop as training
from tests.helpers.training import fit, method, network

STEPS = 8


def main(folder: Path, *, killed: bool) -> None:
    join_processes()
    torch.set_num_threads(1)
    step = training._step

    def dying(*args: Any) -> Any:
        if rank() == 1 and args[4] == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*args)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("whole", "parts"):
            if killed and name == "parts":
                patch.setattr(training, "_step", dying)
            trained = fit(
                method("egat", network(drop_rate=0.1)),
                folder / name,
                steps=STEPS,
                ema_decay=0.8,
                resources={"checkpoint_every": 2},
            )
            if rank() == 0:
                save_file(trained.model.state_dict(), folder / f"{name}.safetensors")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), killed=sys.argv[2:] != ["whole"])
