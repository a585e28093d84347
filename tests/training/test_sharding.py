"""What cannot be trained in shards is refused before it is; the rest is tested with several processes."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate import DistributedType
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy

from egat_hub.training import sharding
from egat_hub.training.sharding import prepare_sharding
from tests.helpers.training import fit, method


def accelerator(precision: str = "bf16", **settings: Any) -> Any:
    """Of a job on GPUs with FSDP."""
    plugin = {
        "fsdp_version": 2,
        "auto_wrap_policy": None,
        "activation_checkpointing": False,
        "cpu_offload": None,
        "mixed_precision_policy": None,
    }
    return SimpleNamespace(
        distributed_type=DistributedType.FSDP,
        mixed_precision=precision,
        state=SimpleNamespace(fsdp_plugin=SimpleNamespace(**{**plugin, **settings})),
    )


@pytest.mark.parametrize(
    ("precision", "settings", "remedy"),
    [
        ("no", {"fsdp_version": 1}, "fsdp_version: 2"),
        ("no", {"auto_wrap_policy": print}, "fsdp_auto_wrap_policy: NO_WRAP"),
        ("no", {"activation_checkpointing": True}, "fsdp_activation_checkpointing: false"),
        ("no", {"cpu_offload": CPUOffloadPolicy()}, "fsdp_offload_params: false"),
        ("fp16", {}, "mixed_precision: bf16"),
    ],
)
def test_unsupported_fsdp_settings_raise(precision, settings, remedy):
    with pytest.raises(
        ValueError, match=rf"these settings of Accelerate: {remedy}.*See recipes/accelerate_configs"
    ):
        prepare_sharding(accelerator(precision, **settings))


def test_precision_is_left_to_autocast():
    ours = accelerator(mixed_precision_policy="half the weights")
    prepare_sharding(ours)
    assert ours.state.fsdp_plugin.mixed_precision_policy == MixedPrecisionPolicy()


def test_sharding_that_accelerate_would_ignore_raises(monkeypatch):
    on_cpus = SimpleNamespace(distributed_type=DistributedType.MULTI_CPU)
    monkeypatch.setattr(sharding, "world_size", lambda: 2)
    prepare_sharding(on_cpus)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match="Accelerate does not support FSDP on this device"):
        prepare_sharding(on_cpus)


def test_sharded_checkpoint_needs_a_sharded_run(tmp_path):
    fit(method(), tmp_path, steps=1)
    (path,) = tmp_path.glob("checkpoints/step_*/progress.json")
    progress = json.loads(path.read_text())
    path.write_text(json.dumps({**progress, "network": progress["network"] + ", with FSDP"}))
    with pytest.raises(ValueError, match=r"with FSDP, and this run trains .*Choose another output folder"):
        fit(method(), tmp_path, steps=2)
