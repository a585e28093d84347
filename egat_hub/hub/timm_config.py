"""``config.json``: which network of timm a folder holds."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from torch import nn

from egat_hub.core.files import read_json_object
from egat_hub.hub.timm_arguments import MAX_CLASSES, check_model_args, check_pretrained_cfg


@dataclass(frozen=True)
class NetworkConfig:
    """A network as ``config.json`` describes it, checked; nothing is built yet.

    Attributes:
        path: the file.
        architecture: timm's name of the network.
        num_classes: number of classes, at least 2.
        model_args: further arguments of ``timm.create_model``.
        pretrained_cfg: timm's description of the weights and of how images are prepared.
        label_names: names of the classes, where the file has them.
    """

    path: Path
    architecture: str
    num_classes: int
    model_args: dict[str, Any]
    pretrained_cfg: dict[str, Any]
    label_names: tuple[str, ...] | None

    @classmethod
    def read(cls, path: Path) -> NetworkConfig:
        """Read and check the file.

        Raises:
            ValueError: malformed JSON, an architecture that timm does not know, or arguments out of bounds;
                the message names the file.
        """
        content = read_json_object(path)
        architecture = content.get("architecture")
        if not isinstance(architecture, str) or "." in architecture or not timm.is_model(architecture):
            raise ValueError(
                f"{path} names the architecture {_short(architecture)}, which timm {timm.__version__} "
                f"does not know.{_hint(architecture)} Upgrade timm, or import the package that registers it."
            )
        try:
            return cls(
                path,
                architecture,
                _num_classes(content.get("num_classes")),
                check_model_args(content.get("model_args", {})),
                check_pretrained_cfg(content.get("pretrained_cfg")),
                _label_names(content.get("label_names")),
            )
        except ValueError as error:
            raise _undescribed(path, error) from error

    def build(self) -> nn.Module:
        """The network with random weights, on torch's default device.

        Raises:
            ValueError: timm cannot build it.
        """
        arguments = {**self.model_args, "num_classes": self.num_classes}
        pretrained_cfg = {**self.pretrained_cfg, "architecture": self.architecture}
        if self.label_names is not None:
            pretrained_cfg["label_names"] = list(self.label_names)
        try:
            return timm.create_model(
                self.architecture, pretrained=False, pretrained_cfg=pretrained_cfg, **arguments
            )
        except Exception as error:  # whatever timm's code makes of arguments that it was not written for
            raise _undescribed(self.path, error) from error


def _undescribed(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} does not describe a network that timm {timm.__version__} can build "
        f"({type(error).__name__}: {str(error)[:500]}); save the model again."
    )


def _short(value: Any) -> str:
    return repr(value[:100] if isinstance(value, str) else value)[:110]


def _hint(architecture: Any) -> str:
    close = difflib.get_close_matches(str(architecture)[:100], timm.list_models(), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _num_classes(value: Any) -> int:
    if type(value) is not int or not 2 <= value <= MAX_CLASSES:
        raise ValueError(f"num_classes must be from 2 to {MAX_CLASSES}, got {str(value)[:50]}")
    return value


def _label_names(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("label_names must be a list of texts")
    return tuple(value)
