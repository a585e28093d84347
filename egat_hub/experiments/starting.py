"""The network that a run starts from, timm's or a saved model, and checks that the run can work."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from egat_hub.attacks import Ramp
from egat_hub.core.config import non_default, to_dict
from egat_hub.core.randomness import derive_seed
from egat_hub.data import MultiDomain, verify_images
from egat_hub.evaluation import evaluate
from egat_hub.evaluation.journal import hash_of_weights
from egat_hub.experiments.config import IMAGE_SIZE, RunConfig
from egat_hub.hub import from_pretrained
from egat_hub.hub.layout import model_folder, model_name, shipped_models
from egat_hub.hub.loading import resize
from egat_hub.methods import METHODS, AdversarialConfig, Method
from egat_hub.models import ModelConfig, TimmModel
from egat_hub.models.factory import new_head, reorder_head
from egat_hub.training.config import create_optimizer
from egat_hub.training.log import check_trackers
from egat_hub.training.loop import check_accelerated

ORIGIN = ("method", "dataset", "train_domain", "seed", "selection")
"""Metadata of a saved model that the card of a model fine-tuned from it repeats."""


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A saved model to start from; ``name`` is its id on the Hub, or that which it would have there."""

    name: str
    model: TimmModel
    label_names: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def weights(self) -> str:
        """Digest of the weights."""
        return hash_of_weights(self.model)[:16]

    def has_classes(self, classes: Sequence[str]) -> bool:
        """Whether the head has these classes, in any order."""
        return sorted(classes) == sorted(self.label_names)

    def ordered(self, classes: Sequence[str]) -> SavedModel:
        """The same model with its classes in another order."""
        if tuple(classes) == self.label_names:
            return self
        network = copy.deepcopy(self.model)
        reorder_head(network, [self.label_names.index(name) for name in classes])
        return replace(self, model=network, label_names=tuple(classes))


def open_saved(source: str) -> SavedModel | None:
    """Load a saved model; None for timm's name of a network.

    Args:
        source: folder of a saved model or of a run, name of a model that the package ships, or
            ``organization/name`` or ``organization/name@revision`` on the Hub.

    Raises:
        OSError, ValueError: the model cannot be loaded.
    """
    folder = Path(source).expanduser()
    if folder.exists():
        classifier = from_pretrained(model_folder(folder))
        name = model_name(classifier.model.architecture, classifier.metadata)
    elif source in shipped_models() or ("/" in source and ":" not in source):
        name, classifier = source, from_pretrained(source)
    else:
        return None
    return SavedModel(name, classifier.model, classifier.label_names, classifier.metadata)


def resolve(config: RunConfig, dataset: MultiDomain, saved: SavedModel | None) -> RunConfig:
    """The config with everything filled in that follows from the data set and the saved model.

    Raises:
        UnknownNameError: a domain that the data set does not have.
        ValueError: other weights than those of the config, or options of timm's networks with a saved model.
    """
    if saved and config.weights not in ("", saved.weights):
        raise ValueError(
            f"Expected weights {config.weights} in {config.model.name}, got {saved.weights}. The model was "
            "replaced since the run was prepared; prepare the run again."
        )
    model = config.model
    if saved:
        drop_rate = float(getattr(saved.model.net, "drop_rate", 0.0) or 0.0)
        own = replace(model, pretrained=True, options={}, drop_rate=drop_rate)
        known_rates = ModelConfig().drop_rate, drop_rate
        if replace(model, drop_rate=drop_rate) != own or model.drop_rate not in known_rates:
            raise ValueError(
                f"{model.name} is a saved model; model.pretrained, model.options and model.drop_rate are for "
                "networks of timm. Leave them out."
            )
        model = own
    wanted = dataset.domains if config.test_domains is None else config.test_domains
    tests = tuple(dataset[name].name for name in wanted)
    size = config.data.image_size or (saved.model.image_size if saved else IMAGE_SIZE)
    return replace(
        config,
        model=model,
        data=replace(config.data, image_size=size),
        domain=dataset[config.domain].name,
        test_domains=tests,
        weights=saved.weights if saved else "",
    )


def build_method(config: RunConfig, classes: Sequence[str], saved: SavedModel | None) -> Method:
    """The method of a run with a resolved config, around the network that training starts from.

    New weights depend on the seed alone. A saved model keeps its head if it has these classes, and its logits
    are put into their order.
    """
    torch.manual_seed(derive_seed(config.seed, "weights"))
    if saved is None:
        network = config.model.build(num_classes=len(classes), image_size=config.image_size)
    else:
        network = copy.deepcopy((saved.ordered(classes) if saved.has_classes(classes) else saved).model)
        if not saved.has_classes(classes):
            new_head(network, len(classes))
        if config.image_size != network.image_size:
            resize(network.net, config.image_size)
        frozen = config.model.freeze_bn is not False
        network = TimmModel(network.net, image_size=config.image_size, freeze_bn=frozen)
    return METHODS[config.method](network, config.method_config, seed=config.seed)


def origin(
    config: RunConfig, classes: Sequence[str], saved: SavedModel | None, start: TimmModel
) -> dict[str, Any]:
    """Metadata about the weights that training started from; ``start`` is the network before training."""
    finetune = {"finetune": to_dict(config.finetune)} if saved or non_default(config.finetune) else {}
    if saved is None:
        source = start.net.pretrained_cfg if config.model.pretrained else {}
        base = {"base_model": f"{source['architecture']}.{source['tag']}"} if source.get("tag") else {}
        return {**base, **finetune}
    repeated = {key: saved.metadata[key] for key in ORIGIN if key in saved.metadata}
    head = "kept" if saved.has_classes(classes) else "new"
    arguments = {"model_args": saved.metadata["model_args"]} if saved.metadata.get("model_args") else {}
    base = {**repeated, "weights": saved.weights, "head": head}
    return {"base_model": saved.name, "base": base, **finetune, **arguments}


def check_runs(
    runs: Iterable[RunConfig], dataset: MultiDomain, saved: SavedModel | None, trackers: Iterable[str] = ()
) -> None:
    """Build and measure what resolved runs need, and decode all images once; every process calls this.

    Of runs that differ in domain, seed or label only, one is built.

    Raises:
        UnknownNameError: a guide, explanation, fill... that does not exist.
        UnreadableImageError: images that cannot be decoded.
        ImportError: a tracker that is not installed.
        ValueError: a method, network, explanation or batch size that does not fit the rest, or missing masks.
    """
    check_trackers(trackers)
    runs = list(runs)
    alike = {repr(replace(run, domain="", seed=0, label="")): run for run in runs}.values()
    evaluated: set[str] = set()
    for run in alike:
        domains = sorted({other.domain for other in runs if other.method_config == run.method_config})
        method = _check_method(run, dataset, saved, domains)
        if repr(run.evaluation) not in evaluated:
            evaluated.add(repr(run.evaluation))
            black = torch.zeros(3, run.image_size, run.image_size)
            evaluate(method.model, [(black, 0)], replace(run.evaluation, epsilons=()))
    if PartialState().is_main_process:
        verify_images(dataset.values())
    PartialState().wait_for_everyone()


def _check_method(
    run: RunConfig, dataset: MultiDomain, saved: SavedModel | None, domains: Iterable[str]
) -> Method:
    """Build the method and the optimizer of a run on some domains."""
    method = build_method(run, dataset.classes, saved)
    method.check_model()
    create_optimizer(method, run.train, run.finetune)
    check_accelerated(method, run.train, PartialState().device)
    _warn_of_warm_up(run)
    without = [name for name in domains if not dataset[name].has_masks]
    if method.needs_masks and without:
        raise ValueError(
            f"{run.label} is set to use object masks and {', '.join(without)} of {dataset.name} has none. "
            "Give --data.masks_dir, use --data synthetic, or choose another guide."
        )
    for name in domains:
        images = len(dataset[name].indices("train"))
        if run.train.batch_size > images:
            warnings.warn(
                f"train.batch_size is {run.train.batch_size}, and {name} has {images} training images: every "
                "batch repeats images. Lower train.batch_size.",
                stacklevel=3,
            )
    return method


def _warn_of_warm_up(run: RunConfig) -> None:
    """Warn if a term of the loss is not at its full weight when training ends."""
    config = run.method_config
    grown = {name: getattr(config, name, 0) for name in ("warmup", "epsilon_warmup", "ramp")}
    if isinstance(config, AdversarialConfig) and isinstance(ramp := config.build_attack(), Ramp):
        grown["training_attack_options.over"] = ramp.over - 1
    for name, steps in grown.items():
        if steps >= run.train.steps:
            warnings.warn(
                f"{run.label} has {name}={steps}, and training ends at step {run.train.steps}: its objective "
                f"is never reached. Lower {name}, or train longer.",
                stacklevel=3,
            )
