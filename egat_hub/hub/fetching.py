"""Fetch the files of a model from the Hub: those of an allow-list, checked, into huggingface_hub's cache."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.hf_api import ModelInfo, RepoSibling

from egat_hub.core.files import MAX_BYTES, atomic_write_text
from egat_hub.hub.errors import hub_errors
from egat_hub.hub.layout import MANIFEST, NEEDED, ModelId
from egat_hub.hub.timm_config import NetworkConfig
from egat_hub.hub.timm_folder import blueprint
from egat_hub.hub.weights import CONFIG, MAX_HEADER, WEIGHTS


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who asks the Hub, and where what it answers is kept.

    Attributes:
        token: a token, True for the one of this machine, False for none; by default that of this machine if
            there is one.
        cache_dir: folder of the cache; by default that of huggingface_hub.
        local_files_only: ask nobody, use what is in the cache.
    """

    token: str | bool | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False


PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def check_listing(model: ModelId, files: Mapping[str, RepoSibling], names: Sequence[str]) -> None:
    """Whether a repository holds a model of this package, by its list of files.

    Raises:
        FileNotFoundError: a file is missing; the message has the remedy.
        ValueError: a file of absurd size.
    """
    missing = [name for name in names if name not in files]
    if missing:
        raise FileNotFoundError(
            f"{model} has no {', '.join(missing)}. {missing_remedy(missing, files, f'hf-hub:{model}')}"
        )
    for name in names:
        size = files[name].size
        if name != WEIGHTS and size is not None and size > MAX_BYTES:
            raise ValueError(
                f"{name} of {model} has {size:,} bytes, more than the {MAX_BYTES:,} that are read of a JSON "
                "file. It is not as egat_hub writes it, so nothing was fetched."
            )


def missing_remedy(missing: list[str], present: Mapping[str, object], timm_name: str) -> str:
    """What to do about a place that lacks files of a model.

    Args:
        missing: names of :data:`egat_hub.hub.layout.NEEDED`.
        present: files by name.
        timm_name: what ``timm.create_model`` would be given.
    """
    if WEIGHTS in missing and any(name.endswith(PICKLED) for name in present):
        return (
            "Its weights are pickled, which can run foreign code, so they are not read: where you trust "
            "them, load them with timm and save the model with egat_hub.save_pretrained."
        )
    if missing == [MANIFEST]:
        return (
            "For a model saved by timm alone, use "
            f"egat_hub.TimmModel(timm.create_model({timm_name!r}, pretrained=True))."
        )
    return "Save the model with egat_hub.save_pretrained."


def content_digest(content: bytes | Path, kind: Literal["sha256", "git"]) -> str:
    """Hash of bytes or of a file, which is read block by block.

    Args:
        content: the bytes, or the file that holds them.
        kind: ``"sha256"`` for large files, ``"git"`` for others (SHA-1 of a git blob).
    """
    digest = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    if kind == "git":
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        digest.update(f"blob {size}\0".encode())
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


TIMEOUT = 10.0
"""Seconds that the Hub has to say what a repository holds."""


def fetch(model: ModelId, access: Access, *, names: Sequence[str] = NEEDED) -> Path:
    """A folder of the cache with files of a model, all of one commit.

    Nothing else of a repository is ever fetched, whatever it holds. Sizes are checked before a file is
    fetched, and hashes after; a file that does not have its hash leaves the cache again.

    Without a connection, the latest files in the cache are used, with a warning.

    Args:
        model: which model.
        access: how the Hub is asked.
        names: what is fetched; by default what loading needs.

    Raises:
        FileNotFoundError: no such model or revision, or none that the token may see, or no model in the
            form of this package.
        PermissionError: no token, an invalid one, or one without the right.
        ConnectionError: the Hub cannot be reached or failed, and the cache does not have the model.
        ValueError: files of absurd size, or a network that does not fit its weights.
        OSError: the disk is full or cannot be written.
    """
    if access.local_files_only:
        return _cached(model, access, names)
    try:
        info = _info(model, access)
    except (FileNotFoundError, ConnectionError) as error:
        return _cached_instead(model, access, names, error)
    files = {file.rfilename: file for file in info.siblings or ()}
    check_listing(model, files, names)
    commit = ModelId(model.repo_id, info.sha)
    folder = _download(commit, files[CONFIG], access).parent
    if WEIGHTS in names:
        _check_weights_size(model, folder / CONFIG, files[WEIGHTS])
    for name in names:
        _download(commit, files[name], access)
    if WEIGHTS in names and model.revision != info.sha:
        note_revision(folder, model.revision or "main")
    return folder


def note_revision(folder: Path, revision: str) -> None:
    """Note in huggingface_hub's cache which commit a branch or tag points to, for use offline.

    huggingface_hub would do so before the first file is there; here it comes last, so that a fetch that broke
    off leaves offline use as it was. The layout is the documented one, ``refs/<revision>`` beside
    ``snapshots/<commit>``.
    """
    note = folder.parents[1] / "refs" / revision
    note.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(note, folder.name)


def _info(model: ModelId, access: Access) -> ModelInfo:
    with hub_errors(model, "read"):
        return HfApi(token=access.token).model_info(
            model.repo_id, revision=model.revision, files_metadata=True, timeout=TIMEOUT
        )


def _cached(model: ModelId, access: Access, names: Sequence[str]) -> Path:
    with hub_errors(model, "read"):
        paths = [
            hf_hub_download(
                model.repo_id,
                name,
                revision=model.revision,
                cache_dir=access.cache_dir,
                local_files_only=True,
            )
            for name in names
        ]
    return Path(paths[0]).parent


def _cached_instead(model: ModelId, access: Access, names: Sequence[str], error: OSError) -> Path:
    """The cache's copy where the Hub could not be asked; the Hub's own answer stands."""
    offline = isinstance(error.__cause__, ConnectionError)
    if not offline and not isinstance(error, ConnectionError):
        raise error
    try:
        folder = _cached(model, access, names)
    except FileNotFoundError:
        raise error from error.__cause__
    if not offline:
        warnings.warn(f"{error} Using the copy in the cache, {folder.name[:10]}.", stacklevel=5)
    return folder


def _check_weights_size(model: ModelId, config: Path, file: RepoSibling) -> None:
    """Refuse weights that the network in the config cannot have, before they are fetched."""
    size = file.size or 0
    net = blueprint(NetworkConfig.read(config), numbers=size)
    limit = MAX_HEADER + 8 * sum(tensor.numel() for tensor in net.state_dict().values())
    if size > limit:
        raise ValueError(
            f"{WEIGHTS} of {model} has {size:,} bytes, and the network in its {CONFIG} takes at most "
            f"{limit:,}. They do not belong together, so the weights were not fetched."
        )


def _download(model: ModelId, file: RepoSibling, access: Access) -> Path:
    for _ in range(2):  # a damaged file in the cache gives way to a new one, once
        with hub_errors(model, "read", consequence="The cache is as it was."):
            path = Path(
                hf_hub_download(
                    model.repo_id,
                    file.rfilename,
                    revision=model.revision,
                    cache_dir=access.cache_dir,
                    token=access.token,
                )
            )
        if _is_intact(path, file):
            return path
        blob = path.resolve()
        path.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)
    raise ConnectionError(
        f"Cannot read {model}: {file.rfilename} arrived damaged twice, its hash is not the one that the Hub "
        "states. It was taken out of the cache again. Check the network and try again."
    )


def _is_intact(path: Path, file: RepoSibling) -> bool:
    if file.lfs is not None:
        return content_digest(path, "sha256") == file.lfs.sha256
    return file.blob_id is None or content_digest(path, "git") == file.blob_id
