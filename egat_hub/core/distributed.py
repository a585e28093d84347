"""Distributed processes: rank, gathering, broadcasting, and CPUs per process."""

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
    """Number of processes; 1 if training is not distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Rank of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def all_gather(tensor: Tensor) -> Tensor:
    """Gather batches [B,...] of equal size to [world*B,...]; gradients are those of the summed losses."""
    return tensor if world_size() == 1 else _AllGather.apply(tensor)


def gather_objects(item: T) -> list[T]:
    """Gather one picklable object per process, in rank order, on all processes."""
    if world_size() == 1:
        return [item]
    items: list[Any] = [None] * world_size()
    dist.all_gather_object(items, item)
    return items


def broadcast_from_main(question: Callable[[], bool]) -> bool:
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


def cpu_count() -> int:
    """Number of CPUs for this process: those it may run on, divided by the processes of this machine."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, allowed // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def join_processes() -> PartialState:
    """Initialize Accelerate's process state, on CPUs if the launcher says so or there is nothing else."""
    use_cpu = os.environ.get("ACCELERATE_USE_CPU", "false").lower() == "true"
    state = PartialState(cpu=use_cpu or ("LOCAL_RANK" in os.environ and not torch.accelerator.is_available()))
    if state.num_processes != world_size():
        raise RuntimeError(
            f"Expected {world_size()} processes in Accelerate's state, got {state.num_processes}. On CPUs, "
            "create PartialState and Accelerator with cpu=True."
        )
    return state
