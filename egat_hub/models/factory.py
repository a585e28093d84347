"""Create networks by name, and change their heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import timm
import torch

from egat_hub.core.registry import suggestion
from egat_hub.models.timm_model import TimmModel


@torch.inference_mode(False)
def create_model(
    name: str,
    *,
    num_classes: int,
    image_size: int | None = None,
    pretrained: bool = True,
    drop_rate: float = 0.0,
    freeze_bn: bool = False,
    **model_args: Any,
) -> TimmModel:
    """Create a timm network by name and wrap it.

    Args:
        name: timm's name, with or without a weights tag.
        num_classes: number of classes C.
        image_size: side of the square input images; by default that of timm's weights.
        pretrained: load timm's pretrained weights.
        drop_rate: dropout rate before the classifier.
        freeze_bn: keep every BatchNorm in eval mode, also while training.
        model_args: further arguments of ``timm.create_model``.

    Raises:
        ValueError: timm does not know the name, or cannot create the network for images of this size.
    """
    architecture = name.split(".")[0]
    if ":" not in name and not timm.is_model(architecture):
        hint = suggestion(architecture, timm.list_models()) or " See timm.list_models()."
        raise ValueError(f"timm knows no network {architecture!r}.{hint}")
    cfg = timm.get_pretrained_cfg(name) if ":" not in name else None
    if image_size is not None and cfg and cfg.fixed_input_size:
        model_args = {"img_size": image_size, **model_args}
    try:
        net = timm.create_model(
            name, pretrained=pretrained, num_classes=num_classes, drop_rate=drop_rate, **model_args
        )
    except (AssertionError, ZeroDivisionError) as error:
        size = model_args.get("img_size")
        raise ValueError(
            f"timm cannot create {name} with img_size={size}: {error or type(error).__name__}. Choose "
            "another image size, a multiple of the network's patches and windows."
        ) from error
    return TimmModel(net, image_size=image_size, freeze_bn=freeze_bn)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network to train.

    Attributes:
        name: timm's name of the network, with or without a weights tag.
        pretrained: load timm's pretrained weights.
        drop_rate: dropout rate before the classifier.
        freeze_bn: keep BatchNorm in eval mode; by default if the network is pretrained.
        options: further arguments of ``timm.create_model``.
    """

    name: str = "resnet50.tv2_in1k"
    pretrained: bool = True
    drop_rate: float = 0.1
    freeze_bn: bool | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def build(self, *, num_classes: int, image_size: int) -> TimmModel:
        """Create the network; untrained weights come from the global random state."""
        return create_model(
            self.name,
            num_classes=num_classes,
            image_size=image_size,
            pretrained=self.pretrained,
            drop_rate=self.drop_rate,
            freeze_bn=self.pretrained if self.freeze_bn is None else self.freeze_bn,
            **self.options,
        )


def new_head(model: TimmModel, num_classes: int) -> None:
    """Replace the head by an untrained one, in place; its weights come from the global random state."""
    net = model.net
    if not hasattr(net, "reset_classifier") or not list(model.classifier.parameters()):
        raise ValueError(
            f"{model.architecture} has no head to replace: no reset_classifier, or a last layer without "
            "weights. Choose another network."
        )
    net.reset_classifier(num_classes)


@torch.no_grad()
def reorder_head(model: TimmModel, order: Sequence[int]) -> None:
    """Permute the classes of the head, in place: logit i becomes what logit ``order[i]`` was."""
    parameters = list(model.classifier.parameters())
    if any(parameter.shape[:1] != (len(order),) for parameter in parameters):
        raise ValueError(
            f"The head of {model.architecture} is not laid out class by class, so its classes cannot be put "
            "into the order of the data. Name the class folders in the model's order."
        )
    for parameter in parameters:
        parameter.copy_(parameter[list(order)])
