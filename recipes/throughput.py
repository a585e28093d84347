"""Measure throughput, memory and hardware utilization of training steps.

    python recipes/throughput.py --model resnet50 --batch-size 64 --bfloat16 --compiled

The ceiling is the speed of a square matrix product on this machine, in the same precision (float32 without
TF32) and the same rounds. The floating-point operations of a step are those of its convolutions and matrix
products, counted while it runs uncompiled. The expected time of a step is its cost in forward-equivalents
(``runtime.py``) times a third of the network's forward and backward, compiled if the step is. All variants
are timed alternately, by events on a GPU; medians are printed. Memory is what a step allocates on a GPU
beyond weights and optimizer state; memory of CUDA graphs is not shown.
"""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median

import torch
from tabulate import tabulate
from timing import (
    Job,
    interleaved,
    machine,
    random_batch,
    ratio,
    training_pass,
    training_step,
)
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from egat_hub.core.options import run_command
from egat_hub.methods import METHODS, Method
from egat_hub.metrics.training_cost import count_passes
from egat_hub.models import TimmModel, create_model
from egat_hub.training import TrainConfig
from egat_hub.training.loop import check_accelerated

PRODUCT, PASS, COMPILED, CAPTURED = "product", "forward and backward", ", compiled", ", CUDA graphs"


def throughput(
    *,
    model: str = "resnet50",
    image_size: int = 224,
    batch_size: int = 32,
    rounds: int = 7,
    bfloat16: bool = False,
    compiled: bool = False,
    cuda_graphs: bool = False,
    methods: tuple[str, ...] = ("erm", "trades", "egat"),
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Time training steps and a matrix product.

    Args:
        model: timm's name of the network.
        image_size: side of the images in pixels.
        batch_size: images per step.
        rounds: number of repetitions.
        bfloat16: run steps and matrix product in bfloat16.
        compiled: also time steps with ``torch.compile``.
        cuda_graphs: also time steps whose attack runs as CUDA graphs.
        methods: methods to time.
        device: device to run on.
    """
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch._dynamo.config.cache_size_limit = 64  # graphs of all networks together
    images, labels = random_batch(batch_size, image_size, 5, device)

    def build(name: str) -> Method:
        net = create_model(model, num_classes=5, image_size=image_size, pretrained=False)
        return METHODS[name](net.to(device)).train()

    built = {name: build(name) for name in methods}
    costs = {name: count_passes(method, images, labels).units for name, method in built.items()}
    fast = {name: build(name) for name in methods} if compiled else {}
    for method in fast.values():
        check_accelerated(method, TrainConfig(compile=True), torch.device(device))

    precision = torch.bfloat16 if bfloat16 else None

    def one_pass(network: TimmModel) -> Job:
        return training_pass(network, images, labels, precision=precision)

    def step(method: Method) -> Job:
        return training_step(method, images, labels, precision=precision)

    product = _product(device, bfloat16=bfloat16)
    with ExitStack() as stack:
        jobs: dict[str, Job] = {PRODUCT: product, PASS: one_pass(build("erm").model)}
        jobs |= {name: step(method) for name, method in built.items()}
        flops = {name: _flops(job) for name, job in jobs.items()}
        if compiled:
            alone = build("erm").model
            for network in (alone, *(method.model for method in fast.values())):
                stack.enter_context(network.compiled())
            jobs[PASS + COMPILED] = one_pass(alone)
            jobs |= {name + COMPILED: step(method) for name, method in fast.items()}
        for name in methods if cuda_graphs else ():
            stack.enter_context((method := build(name)).captured())
            jobs[name + CAPTURED] = step(method)
        times = interleaved(jobs, rounds)
        memory = {name: "-" if CAPTURED in name else _peak(job, device) for name, job in jobs.items()}
    ceiling = [flops[PRODUCT] / seconds for seconds in times[PRODUCT]]
    kind = "bfloat16" if bfloat16 else "float32"
    print(f"{model}, {image_size} px, batch {batch_size}, {kind}, {rounds} rounds\n{machine(device)}\n")
    lines = [
        [
            name + how,
            f"{1000 * median(times[name + how]):.1f}",
            f"{batch_size / median(times[name + how]):.1f}",
            f"{costs[name]:g}",
            _over_expected(times, name + how, costs[name], PASS + how),
            f"{flops[name] / 1e9:.2f}",
            ratio([flops[name] / seconds for seconds in times[name + how]], ceiling),
            memory[name + how],
        ]
        for name in methods
        for how in ("", COMPILED, CAPTURED)
        if name + how in jobs
    ]
    titles = ["step", "ms", "images/s", "cost", "/ expected", "GFLOP", "/ ceiling", "MiB"]
    print(tabulate(lines, titles, "github", disable_numparse=True))
    for name in jobs:
        if name.startswith(PASS):
            print(f"\nA {name} takes {1000 * median(times[name]):.1f} ms.", end="")
    print(f"\nCeiling: {median(ceiling) / 1e12:.3f} TFLOP/s in a matrix product.")


def _over_expected(times: dict[str, list[float]], step: str, cost: float, one_pass: str) -> str:
    """Ratio to the expected time; none for CUDA graphs, whose forward and backward is not timed."""
    if one_pass not in times:
        return "-"
    return ratio(times[step], [cost * seconds / 3 for seconds in times[one_pass]])


def _product(device: str, *, bfloat16: bool) -> Job:
    size = 8192 if device == "cuda" else 1024
    kind = torch.bfloat16 if bfloat16 else torch.float32
    first, second = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))

    def product() -> Tensor:
        return first @ second

    return product


class _Operations(TorchDispatchMode):
    """Counts operations as ``FlopCounterMode`` does, whose tracking of modules fails inside attacks."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


def _flops(job: Job) -> int:
    with _Operations() as operations:
        job()
    return operations.total


def _peak(job: Job, device: str) -> str:
    """Peak memory that a job allocates on a GPU, in MiB."""
    if device != "cuda":
        return "-"
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    job()
    return f"{(torch.cuda.max_memory_allocated() - before) / 2**20:.0f}"


if __name__ == "__main__":
    run_command(throughput)
