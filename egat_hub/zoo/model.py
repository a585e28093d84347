"""A model as lists and leaderboards know it: where it is, what it is, what was measured."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from egat_hub.hub.layout import MANIFEST, RESULTS
from egat_hub.hub.results_file import read_results
from egat_hub.model_name import model_name
from egat_hub.results import Row
from egat_hub.timm_folder import CONFIG, WEIGHTS


@dataclass(frozen=True, kw_only=True)
class ZooModel:
    """A model of this release, of the Hub, or in a folder.

    Attributes:
        known_as: the name by which this release knows it; empty if it does not.
        repo_id: its repository, ``"organisation/name"``; empty while it is not published.
        revision: the commit that is meant.
        architecture: timm's name of the network.
        num_classes: number of classes.
        model_args: further arguments of ``timm.create_model``.
        pretrained_cfg: timm's description of the weights.
        metadata: how the model came to be.
        rows: what was measured.
        weights: the file of its weights, where it is on this machine.
    """

    known_as: str = ""
    repo_id: str = ""
    revision: str = ""
    architecture: str
    num_classes: int
    pretrained_cfg: Mapping[str, Any]
    metadata: Mapping[str, Any]
    rows: tuple[Row, ...]
    model_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    weights: Path | None = None

    @property
    def name(self) -> str:
        """The model's name in timm's fashion, ``"resnet50.egat_vlcs"``."""
        tag = self.pretrained_cfg.get("tag")
        return f"{self.architecture}.{tag}" if tag else model_name(self.architecture, self.metadata)

    @property
    def source(self) -> str:
        """What :func:`egat_hub.from_pretrained` takes."""
        return self.known_as or self.published

    @property
    def published(self) -> str:
        """Where it is on the Hub, ``"organisation/name@commit"``; empty if it is not."""
        return f"{self.repo_id}@{self.revision}" if self.revision else self.repo_id

    @property
    def place(self) -> str:
        """Where its weights are, in words."""
        if self.weights is not None:
            return "here"
        return "on the Hub" if self.repo_id else "not published"

    @classmethod
    def of_folder(cls, folder: Path, *, repo_id: str = "", revision: str = "") -> ZooModel:
        """The model in a folder, as it is or will be published.

        Raises:
            ValueError: a file is malformed.
        """
        from egat_hub.manifest import Manifest
        from egat_hub.timm_folder import NetworkConfig

        config, manifest = NetworkConfig.read(folder / CONFIG), Manifest.read(folder / MANIFEST)
        return cls(
            repo_id=repo_id,
            revision=revision,
            architecture=config.architecture,
            num_classes=config.num_classes,
            model_args=config.model_args,
            pretrained_cfg={**config.pretrained_cfg, "label_names": list(manifest.label_names)},
            metadata=manifest.metadata,
            rows=tuple(read_results(folder / RESULTS)) if (folder / RESULTS).is_file() else (),
            weights=folder / WEIGHTS if (folder / WEIGHTS).is_file() else None,
        )

    def matches(
        self,
        *,
        dataset: str | None = None,
        backbone: str | None = None,
        method: str | None = None,
        attack: str | None = None,
        epsilon: float | None = None,
    ) -> bool:
        """Whether the model is of the kind that is asked for; see :func:`egat_hub.list_models`."""
        told = (
            (str(self.metadata.get("dataset", "")), dataset),
            (self.architecture, backbone),
            (str(self.metadata.get("method", "")), method),
        )
        if any(pattern is not None and not fnmatch(name.lower(), pattern.lower()) for name, pattern in told):
            return False
        if attack is None and epsilon is None:
            return True
        return any(row.metric == "aAcc" and _under(row.protocol, attack, epsilon) for row in self.rows)


def _under(protocol: Mapping[str, Any], attack: str | None, epsilon: float | None) -> bool:
    """Whether a protocol has that attack and, up to rounding as of 8/255 to 0.031, that epsilon."""
    budget = protocol.get("epsilon")
    return attack in (None, protocol.get("attack")) and (
        epsilon is None or (isinstance(budget, (int, float)) and math.isclose(budget, epsilon, rel_tol=0.02))
    )
