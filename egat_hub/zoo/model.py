"""A published model as lists and leaderboards know it: where it is, what it is, what was measured."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from egat_hub.backbone import Backbone
from egat_hub.card_header import model_name
from egat_hub.fingerprint import TOLERANCE
from egat_hub.hub.layout import MANIFEST, RESULTS
from egat_hub.hub.model_id import ModelId
from egat_hub.hub.results_file import read_results, rows_of
from egat_hub.json_file import read_json_object
from egat_hub.manifest import Manifest
from egat_hub.results import Row
from egat_hub.timm_folder import CONFIG, WEIGHTS, NetworkConfig
from egat_hub.whole_file import write_whole


@dataclass(frozen=True, kw_only=True)
class ZooModel:
    """A published model.

    Attributes:
        repo_id: its repository, ``"organisation/name"``; empty for a folder.
        revision: the commit that is meant.
        architecture: timm's name of the network.
        num_classes: number of classes.
        pretrained_cfg: timm's description of the weights.
        metadata: how the model came to be.
        rows: what was measured.
        in_timm: whether timm builds the network from architecture and ``pretrained_cfg`` alone, so that it
            can go by a name of timm's.
    """

    repo_id: str
    revision: str
    architecture: str
    num_classes: int
    pretrained_cfg: Mapping[str, Any]
    metadata: Mapping[str, Any]
    rows: tuple[Row, ...]
    in_timm: bool = False

    @property
    def name(self) -> str:
        """The model's name in timm's fashion, ``"resnet50.egat_vlcs"``."""
        tag = self.pretrained_cfg.get("tag")
        return f"{self.architecture}.{tag}" if tag else model_name(self.architecture, self.metadata)

    @property
    def source(self) -> str:
        """What :func:`egat_hub.from_pretrained` takes."""
        return f"{self.repo_id}@{self.revision}" if self.revision else self.repo_id

    @classmethod
    def of_folder(cls, folder: Path, *, repo_id: str = "", revision: str = "") -> ZooModel:
        """The model in a folder, as it is or will be published.

        Where the folder has weights, they tell whether the model can go by a name of timm's.

        Raises:
            ValueError: a file is malformed.
        """
        config, manifest = NetworkConfig.read(folder / CONFIG), Manifest.read(folder / MANIFEST)
        return cls(
            repo_id=repo_id,
            revision=revision,
            architecture=config.architecture,
            num_classes=config.num_classes,
            pretrained_cfg={**config.pretrained_cfg, "label_names": list(manifest.label_names)},
            metadata=manifest.metadata,
            rows=tuple(read_results(folder / RESULTS)) if (folder / RESULTS).is_file() else (),
            in_timm=(folder / WEIGHTS).is_file() and _is_in_timm(folder, config, manifest),
        )

    @classmethod
    def read(cls, path: Path) -> ZooModel:
        """Read what :meth:`write` wrote.

        Raises:
            ValueError: something else; the message names the file.
        """
        content = read_json_object(path)
        try:
            model = cls(**{**content, "rows": tuple(rows_of(content.get("rows")))})
            ModelId.parse(model.source)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is no entry of the model index: {str(error)[:500]}") from error
        return model

    def write(self, path: Path) -> None:
        """Write the model as an entry of the index that the package ships, ``model_cards/<name>.json``."""
        write_whole(path, json.dumps(dataclasses.asdict(self), indent=1) + "\n")

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


def _is_in_timm(folder: Path, config: NetworkConfig, manifest: Manifest) -> bool:
    try:
        net = dataclasses.replace(config, model_args={}).build()
        net.load_state_dict(load_file(folder / WEIGHTS))
        return manifest.fingerprint.deviation(Backbone(net)) <= TOLERANCE
    except (RuntimeError, ValueError, AssertionError):
        return False
