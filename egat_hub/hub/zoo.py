"""List models that ship with the package, are published on the Hub, or are saved in folders."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from egat_hub.core.files import read_json_object
from egat_hub.core.results import Row
from egat_hub.hub import layout

TAG = "egat_hub"
"""Tag of the repositories on the Hub that this package pushes."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What the files of a model say about it; no weights are read.

    Attributes:
        name: what :func:`egat_hub.from_pretrained` takes.
        model_args: arguments of ``timm.create_model`` besides the architecture.
        pretrained_cfg: timm's description of weights and preprocessing.
        metadata: how the model was made.
        weights: file of the weights, if it is on this machine.
        repo_id: repository on the Hub, ``"org/name"``, if any, and ``revision``, a commit there.
    """

    name: str
    architecture: str
    label_names: tuple[str, ...]
    model_args: Mapping[str, Any]
    pretrained_cfg: Mapping[str, Any]
    metadata: Mapping[str, Any]
    rows: tuple[Row, ...]
    weights: Path | None = None
    repo_id: str = ""
    revision: str = ""

    @property
    def timm_name(self) -> str:
        """Name in timm's style: ``"resnet50.egat_vlcs"``."""
        tag = self.pretrained_cfg.get("tag")
        return f"{self.architecture}.{tag}" if tag else layout.model_name(self.architecture, self.metadata)

    @property
    def location(self) -> str:
        """Where the weights are: ``"local"``, ``"Hub"`` or ``"not published"``."""
        return "local" if self.weights else "Hub" if self.repo_id else "not published"

    @property
    def dataset(self) -> str:
        """Name of the data set that the model was trained on."""
        return str(self.metadata.get("dataset") or "")

    @property
    def method(self) -> str:
        """Name of the training method."""
        return str(self.metadata.get("method") or "")

    @classmethod
    def read(cls, folder: Path, name: str, *, repo_id: str = "", revision: str = "") -> ModelInfo:
        """Read the files in a folder; a ValueError names a malformed one."""
        config = read_json_object(folder / layout.CONFIG)
        manifest, weights = read_json_object(folder / layout.MANIFEST), folder / layout.WEIGHTS
        try:
            info = cls(
                name=name,
                architecture=config["architecture"],
                label_names=tuple(manifest["label_names"]),
                model_args=dict(config.get("model_args", {})),
                pretrained_cfg=dict(config["pretrained_cfg"]),
                metadata=dict(manifest["metadata"]),
                rows=tuple(layout.read_results(folder / layout.RESULTS)),
                weights=weights if weights.is_file() else None,
                repo_id=repo_id,
                revision=revision,
            )
            listed = [info.timm_name, info.dataset, info.method, *info.label_names]
            if not all(text.isprintable() for text in listed):
                raise ValueError("expected names of printable characters")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{folder} does not hold a model as egat_hub saves it: {error!s:.500}"
            ) from error
        return info


def list_models(filter: str = "", **options: Any) -> list[str]:
    """List names of models that ship with the package and, with ``hub=True``, of those on the Hub.

    Args:
        filter: wildcard pattern of names, such as ``"resnet*"``; default: all.
        options: ``method``, ``dataset`` and ``architecture`` (wildcard patterns); ``attack`` and ``epsilon``
            (only models with robust accuracy under this attack, at this epsilon in [0,1] up to 2 %);
            ``folders`` (list models saved in these instead); ``hub`` (also list models on the Hub);
            ``author`` (only those of this user or organization); ``token`` and ``cache_dir`` (see
            :func:`egat_hub.from_pretrained`).

    Returns:
        Names for :func:`egat_hub.from_pretrained` and :func:`egat_hub.model_info`.
    """
    return [info.name for info in find_models(filter, **options)]


def model_info(name: str, **options: Any) -> ModelInfo:
    """Read what the files of a model say about it, results included; no weights are read.

    The name and the options ``revision``, ``token``, ``cache_dir`` and ``local_files_only`` are those of
    :func:`egat_hub.from_pretrained`, and so are the errors.
    """
    if name in layout.shipped_models():
        return _read_shipped(name)
    folder = layout.model_folder(Path(name).expanduser())
    if folder.is_dir() or name.count("/") != 1:
        if not (folder / layout.MANIFEST).is_file():
            raise FileNotFoundError(
                f"Expected a saved model, org/name on the Hub or a listed name, got {name!r}."
            )
        return ModelInfo.read(folder, name)
    return _read_published(name, **options)


def find_models(
    filter: str = "",
    *,
    folders: Sequence[Path] = (),
    dataset: str | None = None,
    architecture: str | None = None,
    method: str | None = None,
    attack: str | None = None,
    epsilon: float | None = None,
    hub: bool = False,
    author: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
) -> list[ModelInfo]:
    """As :func:`list_models`, with everything that is known about each model."""
    found = [*_saved_models(folders)] if folders else [*map(_read_shipped, layout.shipped_models())]
    if hub:
        shipped = {info.repo_id for info in found}
        published = _models_on_hub(author, token=token, cache_dir=cache_dir)
        found += [info for info in published if info.repo_id not in shipped]
    patterns = {"name": filter or "*", "dataset": dataset, "architecture": architecture, "method": method}
    chosen = [
        info
        for info in found
        if all(fnmatch(getattr(info, key).lower(), (like or "*").lower()) for key, like in patterns.items())
        and _was_attacked(info, attack, epsilon)
        and (author is None or info.repo_id.startswith(f"{author}/"))
    ]
    return sorted(chosen, key=lambda info: info.name)


def _was_attacked(info: ModelInfo, attack: str | None, epsilon: float | None) -> bool:
    return (attack is None and epsilon is None) or any(
        attack in (None, row.protocol.get("attack"))
        and (epsilon is None or math.isclose(row.protocol.get("epsilon", math.inf), epsilon, rel_tol=0.02))
        for row in info.rows
    )


def _saved_models(folders: Sequence[Path]) -> Iterator[ModelInfo]:
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"Expected a folder with saved models, found none at {folder}.")
        for manifest in folder.rglob(layout.MANIFEST):
            yield ModelInfo.read(manifest.parent, str(manifest.parent))


def _read_shipped(name: str) -> ModelInfo:
    folder = layout.shipped_models()[name]
    entry = layout.ZooEntry.read(folder)
    return ModelInfo.read(folder, name, repo_id=entry.repo_id, revision=entry.revision)


def _read_published(repo_id: str, **options: Any) -> ModelInfo:
    from egat_hub.hub.remote import download

    files = (layout.CONFIG, layout.MANIFEST, layout.RESULTS)
    folder = download(repo_id.removeprefix("hf-hub:"), files, **options)
    return ModelInfo.read(folder, repo_id, repo_id=repo_id, revision=folder.name)


def _models_on_hub(author: str | None, *, token: str | bool | None, **options: Any) -> Iterator[ModelInfo]:
    """Repositories with this package's tag; one that cannot be read is left out with a warning."""
    from huggingface_hub import HfApi

    from egat_hub.hub.remote import hub_errors

    with hub_errors("Cannot list", "models of the Hub"):
        listed = list(HfApi(token=token).list_models(filter=TAG, author=author, limit=1000))
    for model in listed:
        try:
            yield _read_published(model.id, token=token, **options)
        except (FileNotFoundError, PermissionError, ValueError) as error:
            warnings.warn(f"{model.id} is left out: {error}", stacklevel=4)
