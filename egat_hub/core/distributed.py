"""Processes that work together: rank, gathering, and the CPUs of each."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor

T = TypeVar("T")


def world_size() -> int:
    """Number of training processes, 1 when nothing is distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process among :func:`world_size`."""
    return dist.get_rank() if world_size() > 1 else 0


def all_gather(tensor: Tensor) -> Tensor:
    """Equal-sized local batches [B,...] joined in rank order to [world*B,...], differentiable.

    The gradient is that of the sum of all processes' losses, as data-parallel averaging expects.
    """
    return tensor if world_size() == 1 else _AllGather.apply(tensor)


def gather_objects(item: T) -> list[T]:
    """One picklable object from every process, in rank order, on all of them."""
    if world_size() == 1:
        return [item]
    items: list[Any] = [None] * world_size()
    dist.all_gather_object(items, item)
    return items


def main_says(question: Callable[[], bool]) -> bool:
    """The main process's answer, in all processes."""
    return gather_objects(question() if rank() == 0 else False)[0]


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total.chunk(world_size())[rank()]


def own_cores() -> int:
    """Number of those that it is allowed on, shared with the processes launched beside it."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, allowed // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


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
