"""The model that fine-tuning starts from."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from egat_hub.backbone import Backbone, create_backbone
from egat_hub.engine.journal import hash_of_weights
from egat_hub.finetuning.head import reorder_head
from egat_hub.hub import from_pretrained
from egat_hub.hub.known import known_models
from egat_hub.hub.layout import model_folder
from egat_hub.model_name import model_name

IMAGE_SIZE = 224
"""Side of the images for weights of timm's, unless told otherwise."""

DROP_RATE = 0.1
"""Dropout before the classifier, for weights of timm's."""


@dataclass(frozen=True, eq=False)
class Base:
    """A model and what is known of it.

    Attributes:
        name: a model of the Hub, timm's name of weights, or what a saved model would be called.
        backbone: the network.
        label_names: the classes that its head knows by name; none for weights of timm's.
        metadata: how the model came to be.
    """

    name: str
    backbone: Backbone
    label_names: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def weights(self) -> str:
        """What tells these weights from others."""
        return hash_of_weights(self.backbone)[:16]

    def knows(self, classes: Sequence[str]) -> bool:
        """Whether these are the classes of the head, in any order."""
        return sorted(classes) == sorted(self.label_names)

    def ordered(self, classes: Sequence[str]) -> Base:
        """The same model with its classes in another order.

        Raises:
            ValueError: a head that cannot be put into another order.
        """
        if tuple(classes) == self.label_names:
            return self
        backbone = copy.deepcopy(self.backbone)
        reorder_head(backbone, [self.label_names.index(name) for name in classes])
        return replace(self, backbone=backbone, label_names=tuple(classes))


def open_base(source: str, *, image_size: int | None = None) -> Base:
    """Load the model to start from.

    Args:
        source: folder of a saved model or of a run, the name of a model that the package knows,
            ``organisation/name`` or ``organisation/name@revision`` on the Hub, or timm's name of a network,
            whose pretrained weights are loaded.
        image_size: side of the images to come, where timm makes the network.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError, OSError: a model that cannot be had.
        ValueError: a model that is damaged, a network that timm does not know, or has no weights of, or one
            that has no map of positions.
    """
    folder = Path(source).expanduser()
    if folder.exists():
        classifier = from_pretrained(model_folder(folder))
        name = model_name(classifier.backbone.architecture, classifier.metadata)
    elif source in known_models() or ("/" in source and ":" not in source):
        name, classifier = source, from_pretrained(source)
    else:
        return _of_timm(source, image_size or IMAGE_SIZE)
    return Base(name, classifier.backbone, classifier.label_names, classifier.metadata)


def _of_timm(name: str, image_size: int) -> Base:
    try:
        backbone = create_backbone(name, num_classes=2, image_size=image_size, drop_rate=DROP_RATE)
    except RuntimeError as error:
        raise ValueError(
            f"timm cannot load pretrained weights of {name!r}: {error} See timm.list_pretrained()."
        ) from error
    tag = backbone.net.pretrained_cfg.get("tag")
    return Base(f"{backbone.architecture}.{tag}" if tag else backbone.architecture, backbone)
