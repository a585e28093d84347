"""The network that a run starts from: timm's, or a saved model with its head kept or replaced."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from egat_hub.core.config import non_default, to_dict
from egat_hub.core.randomness import derive_seed
from egat_hub.data import MultiDomain
from egat_hub.evaluation.journal import hash_of_weights
from egat_hub.experiments.config import IMAGE_SIZE, RunConfig
from egat_hub.hub import from_pretrained
from egat_hub.hub.layout import model_folder, model_name, shipped_models
from egat_hub.hub.loading import resize
from egat_hub.methods import METHODS, Method
from egat_hub.models import ModelConfig, TimmModel
from egat_hub.models.factory import new_head, reorder_head

ORIGIN = ("method", "dataset", "train_domain", "seed", "selection")
"""Metadata of a saved model that the card of a model fine-tuned from it repeats."""


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A saved model to start from.

    Attributes:
        name: id on the Hub, or the name that the model would have there.
        model: the network.
        label_names: the classes of its head.
        metadata: how it was trained.
    """

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
        """The same model with its classes in another order.

        Raises:
            ValueError: a head that cannot be put into another order.
        """
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
        FileNotFoundError, PermissionError, ConnectionError, OSError: the model cannot be loaded.
        ValueError: the model is damaged.
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
        own = replace(model, pretrained=True, options={}, drop_rate=_drop_rate(saved.model))
        if replace(model, drop_rate=own.drop_rate) != own or model.drop_rate not in (
            ModelConfig().drop_rate,
            own.drop_rate,
        ):
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


def _drop_rate(model: TimmModel) -> float:
    return float(getattr(model.net, "drop_rate", 0.0) or 0.0)


def build_method(config: RunConfig, classes: Sequence[str], saved: SavedModel | None) -> Method:
    """The method of a run around the network that training starts from.

    New weights depend on the seed alone. A saved model keeps its head if it has these classes, in their
    order.

    Args:
        config: resolved config.
        classes: class names in label order.
        saved: what :func:`open_saved` gave for ``config.model.name``.
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
    """Metadata about the weights that training started from.

    Args:
        config: resolved config.
        classes: class names in label order.
        saved: as for :func:`build_method`.
        start: the network before training.
    """
    transfer = {"transfer": to_dict(config.transfer)} if saved or non_default(config.transfer) else {}
    if saved is None:
        source = start.net.pretrained_cfg if config.model.pretrained else {}
        base = {"base_model": f"{source['architecture']}.{source['tag']}"} if source.get("tag") else {}
        return {**base, **transfer}
    repeated = {key: saved.metadata[key] for key in ORIGIN if key in saved.metadata}
    head = "kept" if saved.has_classes(classes) else "new"
    arguments = saved.metadata.get("model_args")
    return {
        "base_model": saved.name,
        "base": {**repeated, "weights": saved.weights, "head": head},
        **transfer,
        **({"model_args": arguments} if arguments else {}),
    }
