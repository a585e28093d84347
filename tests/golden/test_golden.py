"""What the code computes is, to the bit, what it computed when ``golden.json`` was recorded.

Everything runs in a process of its own, on one thread and with instructions that any x86-64 of AVX2 has, so
that neither other tests nor the number of cores matter. Names of the package are in ``adapter.py`` alone.

    python tests/golden/test_golden.py                     compare everything but the demo
    python tests/golden/test_golden.py --record            write golden.json anew; the demo's part stays
    python tests/golden/test_golden.py --record --demo     the same, and the demo
    GOLDEN_DEMO=1 pytest tests/golden                      compare everything

Bits depend on the versions of PyTorch and its libraries, and may depend on the processor. Where nothing but
the machine has changed, check out the commit that added this folder (it adds nothing else to the commit that
``golden.json`` names), record there, and compare with that.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STORED = HERE / "golden.json"
DEMO = "demo"
FIXED = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONPATH": str(ROOT),
}
"""The environment of the process that computes."""


def golden() -> dict[str, Any]:
    return json.loads(STORED.read_text()) if STORED.exists() else {"machine": {}, "values": {}}


def compute(chosen: list[str] | None = None, *, demo: bool = False) -> dict[str, Any]:
    """Run the chosen items, or all, in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, found = Path(folder) / "wanted.json", Path(folder) / "found.json"
        wanted.write_text(json.dumps({"chosen": chosen, "demo": demo}))
        command = [sys.executable, str(Path(__file__).resolve()), "--compute", str(wanted), str(found)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ACCELERATE_")}
        done = subprocess.run(
            command, cwd=ROOT, env={**environment, **FIXED}, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"The golden runs did not end well:\n{done.stderr[-4000:]}")
        return json.loads(found.read_text())


# in the process that computes


def items() -> dict[str, Any]:
    """Every item by name, to be called."""
    import adapter

    groups = {
        "data": (adapter.data_names, adapter.data),
        "method": (adapter.method_names, adapter.train_five_steps),
        "training attack": (adapter.training_attack_names, adapter.train_with_training_attack),
        "attack": (adapter.attack_names, adapter.attack),
        "explanation": (adapter.explanation_names, adapter.explanation),
        "explanation attack": (adapter.explanation_attack_names, adapter.explanation_attack),
        "corruption": (adapter.corruption_names, adapter.corruption),
        "evaluation": (adapter.evaluation_names, adapter.evaluation_rows),
        "run": (adapter.run_names, adapter.training_run),
    }
    found: dict[str, Any] = {
        f"{group}: {name}": (run, name) for group, (names, run) in groups.items() for name in names()
    }
    return {**found, "exported folder": (adapter.exported_folder,), DEMO: (adapter.demo_tables,)}


def compute_here(chosen: list[str] | None, demo: bool) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    values, seconds, errors = {}, {}, {}
    for item, (run, *arguments) in items().items():
        if demo if item == DEMO else chosen is None or item in chosen:
            started = time.perf_counter()
            try:
                values[item] = plain(run(*arguments))
            except Exception:
                errors[item] = traceback.format_exc()
            seconds[item] = round(time.perf_counter() - started, 2)
    return {"machine": machine(), "values": values, "seconds": seconds, "errors": errors}


def machine() -> dict[str, str]:
    import numpy
    import PIL
    import timm
    import torch
    import torchvision

    versions = {module.__name__: module.__version__ for module in (torch, torchvision, timm, numpy, PIL)}
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    kind = " ".join(found.get(key, "?") for key in ("vendor_id", "cpu family", "model", "model name"))
    return {"cpu": kind, "python": platform.python_version(), **versions}


def plain(value: Any) -> Any:
    """Of JSON types: tensors become a hash of their bits, beside sums that tell how far off they are."""
    import torch

    if isinstance(value, dict) and value and all(isinstance(item, torch.Tensor) for item in value.values()):
        return digest(sorted(value.items()))
    if isinstance(value, torch.Tensor):
        return digest([("", value)])
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def digest(tensors: list[tuple[str, Any]]) -> dict[str, Any]:
    """SHA-256 over names, types, shapes and bytes, and the sums of values and of their squares."""
    import torch

    seen, total, squares = hashlib.sha256(), 0.0, 0.0
    for name, tensor in tensors:
        tensor = tensor.detach().cpu().contiguous()
        seen.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        seen.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        numbers = tensor.double().nan_to_num()
        total, squares = total + numbers.sum().item(), squares + numbers.square().sum().item()
    return {"sha256": seen.hexdigest(), "sum": total, "squares": squares}


# the tests


@pytest.fixture(scope="session")
def computed(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the tests of this session ask for, computed in one process."""
    tests = [test for test in request.session.items if test.path == Path(__file__)]
    return compute([test.callspec.params["item"] for test in tests if hasattr(test, "callspec")])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("item", [item for item in golden()["values"] if item != DEMO])
def test_to_the_bit(item: str, computed: dict[str, Any]) -> None:
    check(item, computed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.environ.get("GOLDEN_DEMO") != "1", reason="minutes; GOLDEN_DEMO=1 runs it")
def test_the_demo_to_the_bit() -> None:
    check(DEMO, compute([], demo=True))


def check(item: str, computed: dict[str, Any]) -> None:
    assert item not in computed["errors"], computed["errors"][item]
    assert item in computed["values"], f"adapter.py has no {item!r} any more"
    stored = golden()
    assert computed["values"][item] == stored["values"][item], (
        "not what was recorded"
        if computed["machine"] == stored["machine"]
        else f"not what was recorded, on another machine: {stored['machine']} then, {computed['machine']} now"
    )


def write(values: dict[str, Any], machine: dict[str, str]) -> None:
    """Write golden.json, a line an item."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    head = [f'"commit": {json.dumps(git.stdout.strip())}', f'"machine": {json.dumps(machine)}']
    lines = [f" {json.dumps(item)}: {json.dumps(value)}" for item, value in values.items()]
    STORED.write_text("{" + ",\n".join([*head, '"values": {\n' + ",\n".join(lines) + "\n}"]) + "}\n")


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--compute"]:
        wanted, found = map(Path, arguments[1:])
        sys.path.insert(0, str(HERE))
        found.write_text(json.dumps(compute_here(**json.loads(wanted.read_text()))))
        return 0
    unknown = set(arguments) - {"--record", "--demo"}
    if unknown:
        print(f"unknown: {' '.join(sorted(unknown))}\n{__doc__}")
        return 2
    started = time.perf_counter()
    computed, stored = compute(demo="--demo" in arguments), golden()
    values, errors = computed["values"], computed["errors"]
    for item, problem in errors.items():
        print(f"{item}:\n{problem}")
    for item, seconds in sorted(computed["seconds"].items(), key=lambda pair: -pair[1])[:12]:
        print(f"{seconds:7.2f} s  {item}")
    print(f"{len(values)} items in {time.perf_counter() - started:.0f} s, {len(errors)} errors")
    if "--record" in arguments:
        if errors:
            return 1
        kept = {DEMO: stored["values"][DEMO]} if DEMO in stored["values"] else {}
        write({**kept, **values}, computed["machine"])
        return 0
    compared = [item for item in stored["values"] if item != DEMO or "--demo" in arguments]
    wrong = [item for item in compared if values.get(item) != stored["values"][item]]
    print(f"{len(compared) - len(wrong)} equal, {len(wrong)} differ: {', '.join(wrong)}")
    return 1 if wrong or errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
