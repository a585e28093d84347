"""Published models: of this release and of the Hub."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from egat_hub.core.files import read_json_object
from egat_hub.core.results import Row
from egat_hub.hub.cards import TAG
from egat_hub.hub.describing import read_results
from egat_hub.hub.errors import hub_errors
from egat_hub.hub.fetching import Access, fetch
from egat_hub.hub.layout import MANIFEST, RESULTS, Known, ModelId, has_weights, known_models, model_name
from egat_hub.hub.weights import CONFIG, WEIGHTS


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
        from egat_hub.hub.manifest import Manifest
        from egat_hub.hub.timm_config import NetworkConfig

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
        architecture: str | None = None,
        method: str | None = None,
        attack: str | None = None,
        epsilon: float | None = None,
    ) -> bool:
        """Whether the model is of the kind that is asked for; see :func:`egat_hub.list_models`."""
        told = (
            (str(self.metadata.get("dataset", "")), dataset),
            (self.architecture, architecture),
            (str(self.metadata.get("method", "")), method),
        )
        if any(pattern is not None and not fnmatch(name.lower(), pattern.lower()) for name, pattern in told):
            return False
        if attack is None and epsilon is None:
            return True
        return any(
            row.metric == "robust_accuracy" and _under(row.protocol, attack, epsilon) for row in self.rows
        )


def _under(protocol: Mapping[str, Any], attack: str | None, epsilon: float | None) -> bool:
    """Whether a protocol has that attack and, up to rounding as of 8/255 to 0.031, that epsilon."""
    budget = protocol.get("epsilon")
    return attack in (None, protocol.get("attack")) and (
        epsilon is None or (isinstance(budget, (int, float)) and math.isclose(budget, epsilon, rel_tol=0.02))
    )


def shipped() -> list[ZooModel]:
    """The models in ``model_cards/``, by name. Their files are trusted."""
    return [_read(name, folder) for name, folder in known_models().items()]


def _read(name: str, folder: Path) -> ZooModel:
    entry, config = Known.read(folder), read_json_object(folder / CONFIG)
    return ZooModel(
        known_as=name,
        repo_id=entry.repo_id,
        revision=entry.revision,
        architecture=config["architecture"],
        num_classes=config["num_classes"],
        model_args=config.get("model_args", {}),
        pretrained_cfg={**config["pretrained_cfg"], "label_names": config["label_names"]},
        metadata=read_json_object(folder / MANIFEST)["metadata"],
        rows=tuple(read_results(folder / RESULTS)),
        weights=folder / WEIGHTS if has_weights(folder) else None,
    )


LIMIT = 1000
"""Most models of the Hub that are looked at."""


def models_of_the_hub(author: str | None, access: Access) -> Iterator[ZooModel]:
    """Models with this package's tag, of one author if one is named.

    One that cannot be read is left out with a warning. Of each, three small files are fetched.

    Raises:
        ConnectionError: the Hub cannot be reached or failed.
        PermissionError: the token is not valid.
    """
    with hub_errors(ModelId("the list of models"), "read"):
        listed = list(islice(HfApi(token=access.token).list_models(filter=TAG, author=author), LIMIT))
    for info in listed:
        try:
            folder = fetch(ModelId(info.id), access, names=(CONFIG, MANIFEST, RESULTS))
            yield ZooModel.of_folder(folder, repo_id=info.id, revision=folder.name)
        except (FileNotFoundError, PermissionError, ValueError) as error:
            warnings.warn(f"{info.id} is left out: {error}", stacklevel=4)


def list_models(
    *,
    dataset: str | None = None,
    architecture: str | None = None,
    method: str | None = None,
    attack: str | None = None,
    epsilon: float | None = None,
    hub: bool = False,
    author: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
) -> list[ZooModel]:
    """Models, by name: those that this release knows, and those of the Hub.

    Of some that this release knows, only card and figures are published; :attr:`ZooModel.place` says so.

    Args:
        dataset: name of the data set trained on; as of ``model`` and ``method``, case does not count and
            ``*`` stands for anything.
        architecture: timm's name of the network, ``"resnet*"``.
        method: name of the training method.
        attack: only models whose accuracy under this attack was measured.
        epsilon: only models whose accuracy at this epsilon, in [0, 1], was measured, up to 2 %.
        hub: ask the Hub too. Of each model three small files are fetched; no weights are.
        author: only models of this user or organisation on the Hub.
        token: as for :func:`egat_hub.from_pretrained`.
        cache_dir: as for :func:`egat_hub.from_pretrained`.

    Raises:
        ConnectionError: the Hub cannot be reached or failed.
        PermissionError: the token is not valid.
    """
    found = shipped()
    if hub:
        pass

        known = {model.repo_id for model in found}
        there = models_of_the_hub(author, Access(token=token, cache_dir=cache_dir))
        found += [model for model in there if model.repo_id not in known]
    wanted = [
        model
        for model in found
        if model.matches(
            dataset=dataset, architecture=architecture, method=method, attack=attack, epsilon=epsilon
        )
        and (author is None or model.repo_id.startswith(f"{author}/"))
    ]
    return sorted(wanted, key=lambda model: (model.name, model.source))
