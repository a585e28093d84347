"""The processes that were launched together."""

from __future__ import annotations

import os

import torch
from accelerate import PartialState

from egat_hub.collective import world_size


def join_processes() -> PartialState:
    """Accelerate's state; it has to be told of ``use_cpu``, and of several processes on CPUs.

    Raises:
        RuntimeError: several processes that Accelerate takes for one.
    """
    told = os.environ.get("ACCELERATE_USE_CPU", "false").lower() == "true"
    state = PartialState(cpu=told or ("LOCAL_RANK" in os.environ and not torch.accelerator.is_available()))
    if state.num_processes != world_size():
        raise RuntimeError(
            f"There are {world_size()} processes, and Accelerate counts {state.num_processes}: each would "
            "train alone, in the same folder. On CPUs, create PartialState and Accelerator with cpu=True."
        )
    return state
