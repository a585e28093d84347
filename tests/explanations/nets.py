"""Networks as they are after training: no branch starts at zero, no layer is trivial."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.models import TimmModel
from egat_hub.models.train_mode import is_batchnorm


def lively(name: str, *, size: int = 64, num_classes: int = 5, **arguments: Any) -> TimmModel:
    """A timm network in eval mode whose initial zeros and ones are replaced by random numbers.

    Residual branches of a new ResNet end in a BatchNorm of weight 0, those of a ConvNeXt in a scale of
    1e-6, and every bias is 0: what goes wrong there would not show. BatchNorm statistics are those of
    :func:`pictures`, so that activations keep their size.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = TimmModel(timm.create_model(name, num_classes=num_classes, **arguments), image_size=size)
        for parameter_name, parameter in model.net.named_parameters():
            if parameter_name.endswith("bias"):
                parameter.normal_(0, 0.1)
            elif parameter_name.endswith("gamma"):
                parameter.uniform_(0.1, 0.5)
        norms = [module for module in model.net.modules() if is_batchnorm(module)]
        for norm in norms:
            nn.init.uniform_(norm.weight, 0.3, 0.9)
            norm.momentum = 1.0
        for layer in filter(lambda m: hasattr(m, "weight"), model.classifier.modules()):
            nn.init.normal_(layer.weight, 0, 0.1)
        if norms:
            model.train()(pictures(8, size))
            for norm in norms:
                norm.momentum = 0.1
    return model.eval()


def pictures(count: int = 2, size: int = 64, dtype: torch.dtype = torch.float32) -> Tensor:
    """Images [count,3,size,size] of random coloured blobs, in [0,1]."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return F.interpolate(coarse, size=(size, size), mode="bilinear").to(dtype)


def gradients(model: TimmModel, value: Tensor) -> dict[str, Tensor | None]:
    """Gradient of a scalar with respect to every parameter, by name."""
    names, parameters = zip(*model.net.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(value, parameters, allow_unused=True), strict=True))


def saliency_loss(maps: Tensor) -> Tensor:
    """Mean squared distance of maps [B,h,w], scaled by a constant, to a fixed random target."""
    target = torch.rand(maps.shape, generator=torch.Generator().manual_seed(2), dtype=maps.dtype)
    return (maps / maps.detach().amax() - target).square().mean()


def assert_close(maps: Tensor, expected: Tensor, tolerance: float = 1e-6) -> None:
    """Equal up to ``tolerance`` of the largest expected value."""
    assert expected.abs().max() > 0
    assert (maps - expected).abs().max() <= tolerance * expected.abs().max()


def assert_same_gradients(
    found: dict[str, Tensor | None], expected: dict[str, Tensor | None], tolerance: float
) -> None:
    """The same parameters have gradients, equal up to ``tolerance`` of the largest of all."""
    assert {n for n, g in found.items() if g is None} == {n for n, g in expected.items() if g is None}
    largest = max(g.abs().max() for g in expected.values() if g is not None)
    assert largest > 0
    for name, gradient in expected.items():
        if gradient is not None:
            assert (found[name] - gradient).abs().max() <= tolerance * largest, name
