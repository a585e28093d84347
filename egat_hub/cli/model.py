"""The model that a command line names, on the device that it names."""

from __future__ import annotations

import torch

from egat_hub.classifier import Classifier
from egat_hub.hub import from_pretrained


def open_model(source: str, device: str | None) -> Classifier:
    """Load a model; by default onto the accelerator that PyTorch finds, or the CPU.

    Raises:
        ValueError: a device that PyTorch does not know or cannot use here, besides the errors of
            :func:`egat_hub.from_pretrained`.
    """
    if device is None:
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        place = found or torch.device("cpu")
    else:
        place = _checked(device)
    return from_pretrained(source).to(place)


def _checked(device: str) -> torch.device:
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"Expected a device that can be used here, such as cpu or cuda:0, got {device!r}: {reason}"
        ) from error
    return place
