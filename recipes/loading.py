"""Benchmark data loading: decoding, augmentation, worker processes and the image cache.

    python recipes/loading.py --data pacs --data.dir PACS --domain photo --workers 0 2 4

Prints images per second of training loaders, from files and from the cache, relative to a training step of
ERM, the fastest method. Loaders are timed after their first batch, once workers have started. On a CPU,
workers and training share the cores.

In a training run, ``loading`` in ``log.jsonl`` is the share of time spent waiting for images.
"""

from __future__ import annotations

import time
from statistics import median

import torch
from tabulate import tabulate
from timing import Job, interleaved, machine, random_batch, training_step

from egat_hub.core.options import run_command
from egat_hub.data import DataConfig, MultiDomain, TrainingView, open_dataset, training_loader
from egat_hub.data.transforms import TrainingTransform, apply
from egat_hub.experiments.config import IMAGE_SIZE
from egat_hub.methods import ERM
from egat_hub.models import create_model

ROOM = 2**33
"""Size of the image cache in bytes."""


def loading(
    *,
    data: DataConfig = DataConfig(),
    domain: str | None = None,
    model: str = "resnet50",
    batch_size: int = 32,
    batches: int = 20,
    rounds: int = 5,
    workers: tuple[int, ...] = (0, 2),
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Time loaders and a training step.

    Args:
        data: data set.
        domain: domain to load; the first by default.
        model: timm's name of the network to train.
        batch_size: images per step.
        batches: batches per measurement.
        rounds: number of repetitions.
        workers: numbers of worker processes to try.
        device: device to train on.
    """
    size = data.image_size or IMAGE_SIZE
    dataset = open_dataset(data, domain and [domain], verify=False)
    view = TrainingView(next(iter(dataset.values())), image_size=size, seed=0)
    views = {"files": view, "memory": view.cached(limit=ROOM)}
    parts = _parts(view, size, batch_size)
    step = _step(model, dataset, size, batch_size, device)
    times = interleaved({**parts, "step": step}, rounds)
    speeds = {name: batch_size / median(seconds) for name, seconds in times.items()}
    lines = []
    for count in workers:
        for source, images in views.items():
            loaded = median(
                _images_per_second(images, batch_size, batches, count, seed) for seed in range(rounds)
            )
            lines.append([count, source, f"{loaded:.0f}", f"{loaded / speeds['step']:.2f}"])
    print(f"{view.domain}, {size} px, batch {batch_size}, {rounds} rounds of {batches} batches")
    print(f"{machine(device, ('torch', 'torchvision', 'pillow', 'timm'))}\n")
    print(tabulate(lines, ["workers", "from", "images/s", f"/ step of ERM, {model}"], "github"))
    print(
        f"\nERM trains on {speeds['step']:.0f} images/s. One process decodes {speeds['decoded']:.0f} "
        f"images/s, or augments {speeds['augmented']:.0f}."
    )


def _parts(view: TrainingView, image_size: int, batch_size: int) -> dict[str, Job]:
    """Jobs that decode a batch and augment a decoded batch."""
    positions = [int(view.indices[n % len(view)]) for n in range(batch_size)]
    images = [view.domain.load(position) for position in positions]
    transform = TrainingTransform(image_size)
    return {
        "decoded": lambda: [view.domain.load(position) for position in positions],
        "augmented": lambda: [apply(transform, *image) for image in images],
    }


def _step(model: str, dataset: MultiDomain, image_size: int, batch_size: int, device: str) -> Job:
    net = create_model(model, num_classes=len(dataset.classes), image_size=image_size, pretrained=False)
    images, labels = random_batch(batch_size, image_size, len(dataset.classes), device)
    precision = torch.bfloat16 if device == "cuda" else None
    return training_step(ERM(net.to(device)).train(), images, labels, precision=precision)


def _images_per_second(view: TrainingView, batch_size: int, batches: int, workers: int, seed: int) -> float:
    ahead = 2 * workers  # batches being loaded when the first one arrives
    steps = batches + ahead + 1
    loader = iter(training_loader(view, batch_size=batch_size, steps=steps, seed=seed, workers=workers))
    next(loader)
    begin = time.perf_counter()
    for _ in range(batches):
        next(loader)
    return batches * batch_size / (time.perf_counter() - begin)


if __name__ == "__main__":
    run_command(loading)
