"""Accelerate's FSDP on CPUs, where Accelerate leaves it out though PyTorch has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from accelerate import DistributedType, PartialState
from accelerate.state import AcceleratorState


@contextmanager
def sharded(**settings: str) -> Iterator[None]:
    """Inside, an Accelerator shards, set by environment variables ``FSDP_<NAME>``."""
    create = AcceleratorState.__init__

    def created(self: AcceleratorState, *args: Any, **kwargs: Any) -> None:
        create(self, *args, **kwargs)
        if kwargs.get("fsdp_plugin") is not None:
            self.fsdp_plugin = kwargs["fsdp_plugin"]
            self.distributed_type = DistributedType.FSDP
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    before = PartialState().distributed_type
    AcceleratorState._reset_state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AcceleratorState, "__init__", created)
        patch.setenv("ACCELERATE_USE_FSDP", "true")
        for name, value in {"VERSION": "2", **settings}.items():
            patch.setenv(f"FSDP_{name}", value)
        yield
    AcceleratorState._reset_state()
    PartialState._shared_state["distributed_type"] = before
