"""Load a model from a folder or from the Hub."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from egat_hub.hub.classifier import Classifier, check_label_names
from egat_hub.hub.fetching import Access, fetch, missing_remedy
from egat_hub.hub.layout import MANIFEST, NEEDED, Known, ModelId, has_weights, known_models, without_weights
from egat_hub.hub.manifest import TOLERANCE, Fingerprint, Manifest
from egat_hub.hub.timm_config import NetworkConfig
from egat_hub.hub.timm_folder import read_network
from egat_hub.hub.weights import CONFIG, WEIGHTS
from egat_hub.models import TimmModel


def from_pretrained(
    source: str | os.PathLike[str],
    *,
    num_classes: int | None = None,
    image_size: int | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Classifier:
    """Load a model that :func:`save_pretrained` wrote, in eval mode, on the CPU.

    Args:
        source: a folder; a model that this release knows by name, ``"synthetic-tiny"``; or a model of the
            Hub: ``"organisation/name"``, ``"organisation/name@revision"`` with a branch, tag or commit. A
            folder of that name goes first. Only ``config.json``, ``model.safetensors`` and ``egat.json`` are
            read; no pickle and no code ever is.
        num_classes: give the network a new, untrained head of that many classes, named ``"0"``, ``"1"``...
        image_size: side of the square images to come; by default that of training.
        revision: branch, tag or commit of a model of the Hub, as ``@revision`` in its name.
        token: for private models: a token, or True for the one of this machine, False for none; by default
            that of this machine if there is one.
        cache_dir: where files from the Hub are kept; by default huggingface_hub's cache.
        local_files_only: use what is in the cache and ask nobody, as ``HF_HUB_OFFLINE=1`` does.

    Raises:
        FileNotFoundError: no such folder, model or revision, a file is missing, or a known model whose
            weights are not published; the message then has the command that trains it.
        PermissionError: no token, an invalid one, or one that may not read the model.
        ConnectionError: the Hub cannot be reached or failed, and the cache does not have the model.
        OSError: the disk is full.
        ValueError: a file that is malformed or does not fit the others, a model that does not compute what
            was saved, or an image size that the network cannot take.
    """
    if revision is not None:
        source = str(ModelId.parse(f"{source}@{revision}"))
    access = Access(token=token, cache_dir=cache_dir, local_files_only=local_files_only)
    classifier = load_folder(_located(source, access))
    net: Any = classifier.model.net
    network, names = classifier.model, classifier.label_names
    if num_classes not in (None, network.num_classes):
        net.reset_classifier(num_classes)
        names = tuple(str(index) for index in range(num_classes))
        network = TimmModel(net)
    if image_size not in (None, network.image_size):
        resize(net, image_size)
        network = TimmModel(net, image_size=image_size)
    if network is classifier.model:
        return classifier
    return Classifier(network, names, classifier.metadata).eval()


def load_folder(folder: Path) -> Classifier:
    """Load a model from a folder, as it was saved; the errors are those of :func:`from_pretrained`."""
    _check_files(folder)
    manifest = Manifest.read(folder / MANIFEST)
    net = read_network(folder)
    _check_labels(manifest, folder)
    try:
        network = TimmModel(net)
        classifier = Classifier(network, manifest.label_names, manifest.metadata)
    except Exception as error:  # a network of other people's making may fail in any way
        raise ValueError(
            f"{folder / CONFIG} describes a network that cannot be used "
            f"({type(error).__name__}: {str(error)[:500]}); save the model again."
        ) from error
    _check_fingerprint(manifest.fingerprint, network, folder)
    return classifier.eval()


def _located(source: str | os.PathLike[str], access: Access) -> Path:
    folder = Path(source).expanduser()
    if folder.exists() or not isinstance(source, str):
        return folder
    known = known_models().get(source)
    if known is not None:
        return _of_this_release(source, known, access)
    try:
        model = ModelId.parse(source)
    except ValueError:
        return folder
    try:
        return fetch(model, access)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} (There is no folder {source!r} here either.)") from error


def _of_this_release(name: str, folder: Path, access: Access) -> Path:
    if has_weights(folder):
        return folder
    published = Known.read(folder).published
    if not published:
        raise without_weights(name)
    return fetch(ModelId.parse(published), access)


def _check_files(folder: Path) -> None:
    wanted = ", ".join(NEEDED)
    if not folder.is_dir():
        found = "which is a file" if folder.exists() else "which does not exist"
        close = difflib.get_close_matches(str(folder), known_models(), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise FileNotFoundError(
            f"Expected a folder with {wanted}, organisation/name of a model on the Hub, or a source that "
            f"'egat-hub list' shows, got {str(folder)!r}, {found}.{hint}"
        )
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        present = {entry.name: entry for entry in folder.iterdir()}
        raise FileNotFoundError(
            f"Expected a folder with {wanted}, got {str(folder)!r} without {', '.join(missing)}. "
            f"{missing_remedy(missing, present, f'local-dir:{folder}')}"
        )


def _check_labels(manifest: Manifest, folder: Path) -> None:
    config = NetworkConfig.read(folder / CONFIG)
    try:
        names = check_label_names(manifest.label_names, config.num_classes)
    except ValueError as error:
        raise ValueError(f"{folder / MANIFEST} does not fit {folder / CONFIG}: {error}") from error
    if config.label_names is not None and config.label_names != names:
        raise ValueError(
            f"{folder / MANIFEST} and {folder / CONFIG} name the classes differently, "
            f"{', '.join(names[:5])[:200]} and {', '.join(config.label_names[:5])[:200]}. Use files of one "
            "and the same save."
        )


def _check_fingerprint(fingerprint: Fingerprint, network: TimmModel, folder: Path) -> None:
    try:
        if fingerprint.image_size != network.image_size:
            raise ValueError(f"its images have {fingerprint.image_size} pixels, not {network.image_size}")
        deviation = fingerprint.deviation(network)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"The fingerprint in {folder / MANIFEST} does not fit the network: {str(error)[:500]}"
        ) from error
    if deviation > TOLERANCE:
        raise ValueError(
            f"{folder} does not compute what was saved: on the fingerprint's images its logits are off by "
            f"{deviation:.2g} of their range ({TOLERANCE} would be rounding). Either {WEIGHTS} or {CONFIG} "
            "was changed after saving, or mean and std differ (normalisation applied twice, or never). Fetch "
            "or save the model again."
        )


def resize(net: Any, image_size: int) -> None:
    """Let a network of fixed input size take another one; most networks take any.

    Raises:
        ValueError: one that cannot.
    """
    cfg = net.pretrained_cfg
    if not cfg.get("fixed_input_size"):
        return
    if not hasattr(net, "set_input_size"):
        height, width = cfg["input_size"][1:]
        raise ValueError(
            f"{cfg['architecture']} takes images of {height} x {width} only, got image_size={image_size}."
        )
    net.set_input_size((image_size, image_size))
