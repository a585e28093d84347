"""The training loop."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from tqdm.auto import tqdm

from egat_hub.core.config import digest, non_default, to_dict
from egat_hub.core.distributed import join_processes
from egat_hub.core.randomness import derive_seed
from egat_hub.data import EvaluationView, TrainingView, training_loader
from egat_hub.data.transforms import PREPROCESSING
from egat_hub.evaluation import EvaluationConfig, evaluate
from egat_hub.methods import Method
from egat_hub.metrics.training_cost import count_passes
from egat_hub.models import TimmModel
from egat_hub.training.checkpoints import Checkpoints, Progress
from egat_hub.training.config import FinetuneConfig, Resources, TrainConfig, body, create_optimizer
from egat_hub.training.log import Log, Speed, check_trackers
from egat_hub.training.sharding import Network, is_sharded, prepare_sharding, share_statistics


@dataclass(frozen=True)
class Trained:
    """A network with the selected weights, in eval mode; their step and clean validation accuracy in %."""

    model: TimmModel
    best_step: int
    val_accuracy: float
    seconds: float
    """Time spent in training steps."""


def train(
    method: Method,
    training: TrainingView,
    validation: EvaluationView,
    config: TrainConfig,
    folder: str | Path,
    *,
    seed: int = 0,
    resources: Resources | None = None,
    finetune: FinetuneConfig | None = None,
) -> Trained:
    """Train for ``config.steps`` steps, from the latest checkpoint in ``folder`` if there is one.

    Images, augmentation, attack, mixup and dropout of a step depend on seed and step only, so resumed runs
    give the same weights, bit for bit on a CPU. Every process calls this function.

    Args:
        method: training method; its network is trained in place, and stays sharded under FSDP.
        training: images to train on.
        validation: images to select the best weights on.
        config: how to train.
        folder: folder of the run, for ``log.jsonl`` and ``checkpoints/``.
        seed: seed of batches and dropout.
        resources: loading, logging, saving.
        finetune: how the layers below the head are trained; by default like the head.

    Raises:
        ValueError: settings that do not fit each other, the network, the processes or the checkpoint.
        ImportError: a tracker that is not installed.
        RuntimeError: Accelerate does not see all processes, or a network cannot be captured.
        FloatingPointError: the loss is no longer finite.
    """
    resources, folder, finetune = resources or Resources(), Path(folder), finetune or FinetuneConfig()
    folder.mkdir(parents=True, exist_ok=True)
    join_processes()
    net = method.model.net
    net.pretrained_cfg = {**net.pretrained_cfg, **PREPROCESSING}  # saved with the model
    with finetune.applied(method.model):
        return _train(method, training, validation, config, folder, seed, resources, finetune)


def _train(
    method: Method,
    training: TrainingView,
    validation: EvaluationView,
    config: TrainConfig,
    folder: Path,
    seed: int,
    resources: Resources,
    finetune: FinetuneConfig,
) -> Trained:
    keeps_statistics = method.model.freeze_bn or finetune.freeze_backbone
    check_trackers(resources.trackers)
    wanted = config.mixed_precision
    if wanted and AcceleratorState._shared_state and AcceleratorState().mixed_precision != wanted:
        AcceleratorState._reset_state()  # an earlier run in this process had another precision
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision, log_with=list(resources.trackers) or None, project_dir=folder
    )
    prepare_sharding(accelerator)
    name, sharded = type(method).__name__, is_sharded(accelerator)
    if (config.compile or config.cuda_graphs) and sharded:
        raise ValueError("FSDP cannot be combined with train.compile or train.cuda_graphs. Leave them out.")
    if method.needs_index and sharded:
        raise ValueError(
            f"{name} stores perturbations of images between epochs, which FSDP cannot restore from a "
            "checkpoint. Choose another training_attack, or leave out FSDP."
        )
    check_accelerated(method, config, accelerator.device)
    run = _identity(method, config, seed, finetune, sharded)
    optimizer = create_optimizer(method, config, finetune)
    network = Network(method, accelerator)
    if config.ema_decay is not None:
        method.setup_ema(config.ema_decay, foreach=not sharded).requires_grad_(False)
    prepared, optimizer = accelerator.prepare(method, optimizer)
    checkpoints = Checkpoints(folder / "checkpoints", accelerator)
    domain = training.domain
    progress = checkpoints.resume(Progress(run, list(domain.classes), domain.images_digest))
    if progress.step > config.steps:
        raise ValueError(
            f"{folder} has a checkpoint at step {progress.step}, after the last step {config.steps}. Choose "
            "another folder, or remove its checkpoints."
        )
    if resources.trackers:
        accelerator.init_trackers(
            "egat_hub", config={"seed": seed, **to_dict(method.config), **to_dict(config)}
        )
    log = Log(folder / "log.jsonl", progress.step, accelerator)
    draws = (config.steps - progress.step) * config.batch_size // accelerator.num_processes
    cache = int(resources.cache_gib * 2**30) if draws > len(training) else 0
    loader = training_loader(
        training.cached(limit=cache) if cache else training,
        batch_size=config.batch_size,
        steps=config.steps,
        start_step=progress.step,
        seed=seed,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        workers=resources.training_workers,
    )
    if progress.step == 0:
        _validate(network, validation, progress, log, config, resources)
    bar = tqdm(
        initial=progress.step,
        total=config.steps,
        desc=name,
        disable=None if accelerator.is_main_process else True,  # None: no bar in a log file
    )
    first_step, begun = progress.step, time.perf_counter()
    speed = Speed(accelerator)
    with accelerated(method, config):
        speed.start()
        for batch in loader:
            speed.loaded()
            started = time.perf_counter()
            torch.manual_seed(derive_seed(seed, progress.step, accelerator.process_index))
            if method.restarts_optimizer(progress.step):
                optimizer.state.clear()
            warming = progress.step < finetune.warmup_steps
            method.model.freeze_bn = keeps_statistics or warming
            held = body(method.model) if warming else []
            parts = _step(accelerator, prepared, optimizer, batch, progress.step, config, held)
            progress.step += 1
            progress.seconds += time.perf_counter() - started
            speed.stop(config.batch_size)
            last = progress.step == config.steps
            if last or progress.step % resources.log_every == 0:
                shown = {name: value.item() for name, value in accelerator.reduce(parts, "mean").items()}
                log.write(progress.step, {**shown, "seconds": round(progress.seconds, 3), **speed.values()})
                bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items()})
            bar.update()
            if last or progress.step % config.validate_every == 0:
                _validate(network, validation, progress, log, config, resources)
                if bar.disable:
                    rate = (progress.step - first_step) / (time.perf_counter() - begun)
                    left = timedelta(seconds=round((config.steps - progress.step) / rate))
                    text = f"{name}: step {progress.step} of {config.steps}, about {left} left"
                    accelerator.print(text, flush=True)
            if last or progress.step % resources.checkpoint_every == 0:
                checkpoints.save(progress)
            speed.start()
    bar.close()
    if resources.trackers:
        accelerator.end_training()
    accelerator.free_memory()
    return Trained(network.kept(progress.best), progress.best_step, progress.best_accuracy, progress.seconds)


def check_accelerated(method: Method, config: TrainConfig, device: torch.device) -> None:
    """Check up front that a method can be compiled or captured on ``device``, if the config asks for it.

    Raises:
        ValueError: it cannot; ``torch.compile`` does not support second derivatives of the network.
    """
    if config.cuda_graphs:
        method.check_capturable(device)
    if not config.compile:
        return
    probe = copy.deepcopy(method).train()
    size, mean = probe.model.image_size, probe.model.mean
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(mean)
    labels = torch.arange(2, device=mean.device)
    if count_passes(probe, images, labels, mask=torch.ones_like(images[:, :1])).through_backward:
        raise ValueError(
            f"{type(method).__name__} takes second derivatives of the network, which torch.compile does not "
            "support. Leave out train.compile."
        )


def accelerated(method: Method, config: TrainConfig) -> AbstractContextManager[None]:
    """Context in which the network runs compiled or captured, if the config asks for it."""
    if config.compile:
        return method.model.compiled()
    return method.captured() if config.cuda_graphs else nullcontext()


def _identity(method: Method, config: TrainConfig, seed: int, finetune: FinetuneConfig, sharded: bool) -> str:
    """Description of network, method and training that a checkpoint must match."""
    settings = [non_default(method.config), non_default(replace(config, steps=1)), seed]
    settings += [non_default(finetune)] if finetune != FinetuneConfig() else []
    network = f"{method.model.architecture} with {method.model.num_classes} classes"
    way = ", with FSDP" if sharded else ""
    return f"{network}, {type(method).__name__}, settings {digest(settings)}{way}"


def _step(
    accelerator: Accelerator,
    method: Any,
    optimizer: Any,
    batch: dict[str, Tensor],
    step: int,
    config: TrainConfig,
    held: Sequence[nn.Parameter],
) -> dict[str, Tensor]:
    """Take a step with all but the held parameters; return loss terms averaged over micro-batches."""
    method.train()
    if is_sharded(accelerator):
        share_statistics(method)
    total: dict[str, Tensor] = {}
    for i, micro in enumerate(_micro_batches(batch, config.accumulation, accelerator.device)):
        last = i == config.accumulation - 1
        with nullcontext() if last else accelerator.no_sync(method):
            with accelerator.autocast() if is_sharded(accelerator) else nullcontext():
                output = method(micro.pop("image"), micro.pop("label"), step=step, **micro)
            accelerator.backward(output["loss"] / config.accumulation)
        parts = {name: value for name, value in output.items() if name not in ("output", "metrics")}
        for name, value in {**parts, **output["metrics"]}.items():
            total[name] = total.get(name, 0.0) + value.detach().float() / config.accumulation
    if not torch.isfinite(total["loss"]):
        shown = ", ".join(f"{name} {value.item():.4g}" for name, value in total.items())
        raise FloatingPointError(
            f"The loss is not finite at step {step}: {shown}. Lower train.lr or set train.clip_grad."
        )
    for parameter in held:
        parameter.grad = None
    if config.clip_grad is not None:
        accelerator.clip_grad_norm_(method.parameters(), config.clip_grad)
    optimizer.step()
    optimizer.zero_grad()
    if not optimizer.step_was_skipped:
        accelerator.unwrap_model(method).update_ema(step)
    return total


def _micro_batches(batch: dict[str, Tensor], count: int, device: torch.device) -> Iterator[dict[str, Tensor]]:
    parts = {name: values.chunk(count) for name, values in batch.items()}
    for i in range(count):
        micro = {name: values[i] for name, values in parts.items()}
        index = micro.pop("index")
        yield {name: value.to(device, non_blocking=True) for name, value in micro.items()} | {"index": index}


def _validate(
    network: Network,
    validation: EvaluationView,
    progress: Progress,
    log: Log,
    config: TrainConfig,
    resources: Resources,
) -> None:
    with (
        network.validated() as model,
        torch.compiler.set_stance("force_eager") if config.compile else nullcontext(),
    ):
        explanation = None if model.head_form == "independent" else "grad_cam"
        accuracy = EvaluationConfig(
            epsilons=(), explanation=explanation, faithfulness=None, localisation=None
        )
        rows = evaluate(model, validation, accuracy, workers=resources.workers or 0)
        figures = {f"val_{row.metric}": row.value for row in rows}
        log.write(progress.step, figures)
        if config.selection == "last" or figures["val_clean_accuracy"] >= progress.best_accuracy:
            progress.best_step, progress.best_accuracy = progress.step, figures["val_clean_accuracy"]
            progress.best = {
                name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                for name, value in model.state_dict().items()
            }
