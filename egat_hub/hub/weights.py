"""``model.safetensors``: its header, compared with a network before a single weight is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from torch import nn

CONFIG = "config.json"
WEIGHTS = "model.safetensors"


MAX_HEADER = 10_000_000
"""Largest header of a weights file that is read, in bytes; those of timm's networks stay below 1 MB."""

MAX_TENSORS = 6000
"""Most parameters and buffers of a network; timm's largest ones have some 3000."""

FLOATS = {"F64", "F32", "F16", "BF16"}
INTEGERS = {"I64", "I32", "I16", "I8", "U8", "BOOL"}


class Form(NamedTuple):
    """Shape and kind (``"float"``, ``"integer"`` or another dtype's name) of a tensor."""

    shape: tuple[int, ...]
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} {list(self.shape)}"


def read_header(path: Path) -> dict[str, Form]:
    """Names and forms of the tensors in a file, which is not read any further.

    Raises:
        ValueError: not a whole safetensors file; the message names the file.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
        if length > MAX_HEADER:
            raise ValueError(f"its header claims {length:,} bytes")
        with safe_open(path, framework="pt") as file:
            if len(file.keys()) > MAX_TENSORS:
                raise ValueError(f"its header names {len(file.keys()):,} tensors")
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            return {key: Form(tuple(s.get_shape()), _kind(s.get_dtype())) for key, s in slices.items()}
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({str(error)[:300]}): it was cut off, or is of another "
            "kind. Save or fetch it again."
        ) from error


def count_numbers(header: Mapping[str, Form]) -> int:
    """How many numbers the tensors of a file hold together."""
    return sum(math.prod(form.shape) for form in header.values())


def check_weights(path: Path, header: Mapping[str, Form], net: nn.Module) -> None:
    """Compare a file's header with a network, which may be on the meta device.

    Raises:
        ValueError: tensors that are missing, unknown or of another form; the message has the first ones.
    """
    expected = {
        key: Form(tuple(tensor.shape), "float" if tensor.is_floating_point() else "integer")
        for key, tensor in net.state_dict().items()
    }
    differing = [
        f"{key} ({header[key]} in the file, {form} in the network)"
        for key, form in expected.items()
        if header.get(key, form) != form
    ]
    differences = [
        *_some("missing", [key for key in expected if key not in header]),
        *_some("unknown", [key for key in header if key not in expected]),
        *_some("different", differing),
    ]
    if differences:
        raise ValueError(
            f"{path} does not hold the weights of the network in config.json: {'; '.join(differences)}. "
            f"Use config.json and {WEIGHTS} of one and the same save."
        )


def _kind(dtype: str) -> str:
    return "float" if dtype in FLOATS else "integer" if dtype in INTEGERS else dtype


def _some(kind: str, items: list[str], limit: int = 3) -> list[str]:
    rest = f" and {len(items) - limit} more" if len(items) > limit else ""
    return [f"{kind} {', '.join(item[:200] for item in items[:limit])}{rest}"] if items else []
