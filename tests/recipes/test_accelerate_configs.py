"""The configurations of recipes/accelerate_configs are what Accelerate's launcher takes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType

from egat_hub.core.results import read_rows
from tests.helpers.launching import CONFIGS, ROOT, launched

FILES = sorted(CONFIGS.glob("*.yaml"))
TINY = (
    *("--data", "synthetic", "--data.synthetic_size", "60", "--data.image_size", "32", "--domains", "meadow"),
    *("--test_domains", "meadow", "--seeds", "0", "--methods", "erm", "--train.steps", "2"),
    *("--train.batch_size", "4", "--model.name", "test_resnet", "--model.pretrained", "false"),
    *("--model.options", '{"output_stride": 8}', "--evaluation.attack_options", '{"steps": 1}'),
)
SLURM = {"SLURM_JOB_NODELIST": "a[1-3]", "SLURM_JOB_ID": "7", "SLURM_NNODES": "3", "SLURM_NODEID": "2"}


def parsed(*arguments: str):
    """What the launcher makes of its command line and the file."""
    args, defaults, _ = _validate_launch_command(launch_command_parser().parse_args([*arguments]))
    return args, defaults


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_launcher_reads_every_config_file(path, capfd):
    config = load_config_from_file(str(path))
    args, _ = parsed("--config_file", str(path), "script.py")
    assert (args.num_processes, args.num_machines) == (config.num_processes, config.num_machines)
    assert args.mixed_precision == config.mixed_precision
    several = config.num_processes > 1
    assert (args.multi_gpu or args.use_fsdp) == several
    assert "defaults used instead" not in "".join(capfd.readouterr())


def test_fsdp_config_has_supported_settings():
    args, defaults = parsed("--config_file", str(CONFIGS / "fsdp.yaml"), "script.py")
    assert defaults.distributed_type == DistributedType.FSDP
    assert int(args.fsdp_version) == 2
    assert args.fsdp_auto_wrap_policy == "NO_WRAP"
    assert not args.fsdp_activation_checkpointing
    assert not args.fsdp_offload_params


def test_slurm_script_passes_the_machine_rank(tmp_path):
    for name, does in (
        ("srun", 'exec "$@"'),
        ("scontrol", "printf 'a1\\na2\\na3\\n'"),
        ("accelerate", 'printf "%s\\n" "$@"'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["bash", str(CONFIGS / "slurm.sh"), "recipes/vlcs.py", "--data-dir", "my images"],
        cwd=ROOT,
        env={**os.environ, **SLURM, "SLURM_GPUS_ON_NODE": "4", "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    launch, *words = done.stdout.splitlines()
    assert launch == "launch"
    words[words.index("--config_file") + 1] = str(CONFIGS / "several_machines.yaml")
    args, _ = parsed(*words)
    assert (args.num_machines, args.num_processes, args.machine_rank) == (3, 12, 2)
    assert (args.main_process_ip, args.main_process_port) == ("a1", 20007)
    assert args.training_script_args == ["--data-dir", "my images"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_process_and_two_run_a_recipe_on_cpus(tmp_path):
    runs = {}
    for config in ("cpu.yaml", "two_cpus.yaml"):
        output = tmp_path / Path(config).stem
        done = launched(config, str(ROOT / "recipes" / "vlcs.py"), *TINY, "--output", str(output))
        assert done.returncode == 0, done.stderr[-4000:]
        assert {row.n for row in read_rows(output / "results.json") if row.metric == "clean_accuracy"} == {10}
        runs[config] = [path.parent.name for path in output.glob("*/model/model.safetensors")]
    assert len(runs["cpu.yaml"]) == 1
    assert runs["cpu.yaml"] == runs["two_cpus.yaml"]
