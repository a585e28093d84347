"""The network and the images to evaluate, checked."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from egat_hub.models import TimmModel, unwrap
from egat_hub.models.train_mode import evaluating


def unwrapped(model: nn.Module) -> tuple[nn.Module, str]:
    """The network to evaluate, a :class:`TimmModel` if it computes what the model computes, and its name."""
    network = unwrap(extract_model_from_parallel(model))
    return network, network.architecture if isinstance(network, TimmModel) else type(network).__name__


def is_explainable(network: nn.Module, image: Tensor) -> bool:
    """Whether features and head compute the network's logits; warns if they do not.

    Explanations call both separately, which skips a custom ``forward`` and hooks.
    """
    if not isinstance(network, TimmModel):
        return False
    images = image[None].to(device_of(network))
    with evaluating(network), torch.no_grad():
        logits, expected = network.view(images).logits, network(images)
    same = torch.allclose(logits, expected, rtol=1e-3, atol=1e-4, equal_nan=True)
    if not same:
        warnings.warn(
            f"Features and head of {network.architecture} do not compute its logits, for example because of "
            "a custom forward or hooks, so only its accuracy is measured.",
            stacklevel=3,
        )
    return same


def check_output(model: nn.Module, image: Tensor, *, attacked: bool) -> None:
    """Check that a model returns logits [B,C] for an image [3,H,W], with a gradient if it is attacked.

    Raises:
        TypeError: the model does not return a tensor.
        ValueError: a tensor with another shape or dtype than logits, or without gradient.
    """
    name = type(model).__name__
    with evaluating(model), torch.enable_grad():
        images = image[None].to(device_of(model)).clone().requires_grad_(attacked)
        logits = model(images)
        if not isinstance(logits, Tensor):
            raise TypeError(
                f"Expected {name} to return logits, a tensor [B,C], got a {type(logits).__name__}. Wrap it "
                "in a module that returns the logits alone."
            )
        if logits.ndim != 2 or len(logits) != 1 or not logits.is_floating_point():
            raise ValueError(
                f"Expected {name} to return floating-point logits [B,C], got {logits.dtype} of shape "
                f"{list(logits.shape)} for one image. Wrap it in a module that returns logits."
            )
        if attacked and not (
            logits.requires_grad
            and torch.autograd.grad(logits.sum(), images, allow_unused=True)[0] is not None
        ):
            raise ValueError(
                f"The logits of {name} have no gradient with respect to the images, which attacks need. "
                "Return logits that are not detached, or measure without attacks (epsilons=())."
            )


def device_of(model: nn.Module) -> torch.device:
    """Device of the first parameter; the CPU without parameters."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


Sample = tuple[Tensor, int, int, Tensor]
"""Image [3,H,W] in [0,1], label, index, mask [1,H,W] in [0,1] or an empty tensor."""

ITEM = (
    "Expected items (image, label), or mappings with image and label, of a floating-point tensor [3,H,W] in "
    "[0, 1] and a whole number"
)


class Samples(Dataset[Sample]):
    """A data set whose items all have the same form.

    Args:
        dataset: a data set, or tensors (images, labels).

    Raises:
        TypeError: a data loader, or an item of another form when it is read.
        ValueError: an empty data set.
    """

    def __init__(self, dataset: Any) -> None:
        if isinstance(dataset, tuple) and len(dataset) == 2 and all(isinstance(x, Tensor) for x in dataset):
            dataset = TensorDataset(*dataset)
        if isinstance(dataset, DataLoader):
            raise TypeError("Expected a data set, got a DataLoader. Pass its .dataset and config.batch_size.")
        if not len(dataset):
            raise ValueError("Expected images to evaluate on, got an empty data set.")
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> Sample:
        item, index, mask = self.dataset[position], position, torch.empty(0)
        if isinstance(item, Mapping) and {"image", "label"} <= item.keys():
            image, label, mask = item["image"], item["label"], item.get("mask", mask)
            index = int(item.get("index", position))
        elif isinstance(item, tuple | list) and len(item) == 2:
            image, label = item
        else:
            raise TypeError(f"{ITEM}, got a {type(item).__name__}.")
        if not isinstance(image, Tensor):
            raise TypeError(f"{ITEM}, got an image that is a {type(image).__name__}.")
        if image.ndim != 3 or not image.is_floating_point():
            raise TypeError(f"{ITEM}, got an image that is a {image.dtype} {list(image.shape)}.")
        return image, operator.index(label), index, mask
