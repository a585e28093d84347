"""The last layer of a network: a new one, or the old one with its classes in another order."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from egat_hub.models.timm_model import TimmModel


def new_head(model: TimmModel, num_classes: int) -> None:
    """Replace the head by an untrained one, in place; its weights come from the global random state.

    Raises:
        ValueError: a network without a head that can be replaced.
    """
    net = model.net
    if not hasattr(net, "reset_classifier") or not any(True for _ in model.classifier.parameters()):
        raise ValueError(
            f"{model.architecture} has no head to replace: no reset_classifier, or a last layer without "
            "weights. Choose another network."
        )
    net.reset_classifier(num_classes)


@torch.no_grad()
def reorder_head(model: TimmModel, order: Sequence[int]) -> None:
    """Put the classes of the head into another order, in place.

    Args:
        model: its logit i becomes what its logit ``order[i]`` was.
        order: a permutation of the classes.

    Raises:
        ValueError: a head whose weights are not laid out class by class.
    """
    parameters = list(model.classifier.parameters())
    if any(parameter.shape[:1] != (len(order),) for parameter in parameters):
        raise ValueError(
            f"The head of {model.architecture} is not laid out class by class, so that its classes cannot "
            "be put into the order of the data. Name the class folders in the model's order."
        )
    for parameter in parameters:
        parameter.copy_(parameter[list(order)])
