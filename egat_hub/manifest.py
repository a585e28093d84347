"""``egat.json``: what timm's own files of a saved model do not tell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from egat_hub.config import from_dict, to_dict
from egat_hub.fingerprint import Fingerprint
from egat_hub.json_file import read_json_object

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Manifest:
    """The content of ``egat.json``.

    Attributes:
        label_names: one name a class, in the order of the logits.
        fingerprint: logits of two fixed images, checked at load.
        metadata: how the model came to be (method, config, seed, versions...), of JSON types.
        schema_version: version of this file format.

    Raises:
        TypeError: a value of another type.
        ValueError: a schema version that this release does not read.
    """

    label_names: tuple[str, ...]
    fingerprint: Fingerprint
    metadata: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version is {self.schema_version!r} and this release reads {SCHEMA_VERSION}; "
                "install a newer egat_hub."
            )
        names_fit = isinstance(self.label_names, tuple) and all(isinstance(n, str) for n in self.label_names)
        parts_fit = isinstance(self.metadata, Mapping) and isinstance(self.fingerprint, Fingerprint)
        if not names_fit or not parts_fit:
            raise TypeError(
                "Expected label_names as a list of strings, fingerprint and metadata as objects, got "
                f"{type(self.label_names).__name__}, {type(self.fingerprint).__name__} and "
                f"{type(self.metadata).__name__}."
            )

    def write(self, path: Path) -> None:
        """Write the manifest as JSON."""
        path.write_text(json.dumps(to_dict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read what :meth:`write` wrote.

        Raises:
            ValueError: not JSON, or not a manifest; the message names the file.
        """
        content = read_json_object(path)
        try:
            return from_dict(cls, content)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is not as egat_hub writes it: {str(error)[:500]} Save the model again."
            ) from error
