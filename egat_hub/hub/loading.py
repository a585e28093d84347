"""Load a model from a folder or from the Hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from egat_hub.core.registry import suggestion
from egat_hub.hub import layout
from egat_hub.hub.classifier import Classifier
from egat_hub.hub.manifest import HALF_TOLERANCE, TOLERANCE, Fingerprint, Manifest
from egat_hub.hub.prediction import check_label_names
from egat_hub.hub.remote import download, is_repo_id
from egat_hub.hub.timm_files import NetworkConfig, read_network
from egat_hub.models import TimmModel

FILES = (*layout.NEEDED, layout.RESULTS)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def from_pretrained(
    name: str | os.PathLike[str],
    *,
    num_classes: int | None = None,
    image_size: int | None = None,
    revision: str | None = None,
    subfolder: str = "",
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Classifier:
    """Load a model in eval mode on the CPU.

    Only ``config.json``, ``model.safetensors``, ``egat.json`` and ``results.json`` are read.

    Args:
        name: a folder of a saved model or of a run, the name of a model that ships with the package
            (``"synthetic-tiny"``), or a repository on the Hub (``"org/name"``, ``"org/name@revision"``,
            ``"hf-hub:org/name"``). An existing folder goes first.
        num_classes: if it differs from the saved one, the network gets a new, untrained head, and classes are
            named ``"0"``, ``"1"``...
        image_size: side of the square input images; default: that of training.
        revision: branch, tag or commit on the Hub.
        subfolder: folder of the model within ``name``.
        token: token for the Hub; default: the one on this machine, if any.
        cache_dir: cache for files from the Hub; default: huggingface_hub's.
        local_files_only: use files in the cache only, as with ``HF_HUB_OFFLINE=1``.
        force_download: download files again that are in the cache.

    Raises:
        FileNotFoundError: no such model or revision, a file is missing, or its weights are not published.
        PermissionError: no token, an invalid one, or one that may not read the model.
        ConnectionError: the Hub cannot be reached, and the model is not in the cache.
        ValueError: a malformed file, one that does not fit the others, a model that does not compute what was
            saved, or an image size that the network cannot take.
    """
    folder = _find_folder(
        os.fspath(name),
        revision=revision,
        subfolder=subfolder,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    classifier = load_folder(folder)
    network, names = classifier.model, classifier.label_names
    if num_classes not in (None, network.num_classes):
        network.net.reset_classifier(num_classes)
        names = tuple(str(index) for index in range(num_classes))
        network = TimmModel(network.net)
    if image_size not in (None, network.image_size):
        resize(network.net, image_size)
        network = TimmModel(network.net, image_size=image_size)
    if network is classifier.model:
        return classifier
    return Classifier(network, names, classifier.metadata).eval()


def load_folder(folder: Path) -> Classifier:
    """Load the model in a folder as it was saved; the errors are those of :func:`from_pretrained`."""
    _check_files(folder)
    manifest, config = Manifest.read(folder / layout.MANIFEST), NetworkConfig.read(folder / layout.CONFIG)
    net, half = read_network(folder)
    try:
        names = check_label_names(manifest.label_names, config.num_classes)
        if config.label_names is not None and config.label_names != list(names):
            raise ValueError("the label names differ; use files of the same save")
    except ValueError as error:
        raise ValueError(f"{folder / layout.MANIFEST} does not fit {layout.CONFIG}: {error}") from error
    try:
        classifier = Classifier(TimmModel(net), names, manifest.metadata)
    except Exception as error:  # networks and configs of others fail in any way
        raise ValueError(
            f"{folder / layout.CONFIG} describes a network that cannot be used "
            f"({type(error).__name__}: {str(error)[:500]}); save the model again."
        ) from error
    _check_fingerprint(manifest.fingerprint, classifier.model, folder, HALF_TOLERANCE if half else TOLERANCE)
    classifier.fingerprint = manifest.fingerprint
    classifier.rows = tuple(layout.read_results(folder / layout.RESULTS))
    return classifier.eval()


def _find_folder(name: str, *, revision: str | None, subfolder: str, **options: Any) -> Path:
    repo_id, _, in_name = name.removeprefix("hf-hub:").partition("@")
    folder = Path(name.removeprefix("local-dir:")).expanduser()
    if not folder.exists() and name in layout.shipped_models():
        folder = layout.shipped_models()[name]
        entry = layout.ZooEntry.read(folder)
        if not (folder / layout.WEIGHTS).exists() and entry.repo_id:
            return download(entry.repo_id, FILES, revision=entry.revision, **options)
        if not (folder / layout.WEIGHTS).exists():
            raise FileNotFoundError(
                f"The weights of {name} are not published; its card and results are in {folder}. To "
                f"train it: {entry.command}"
            )
    if folder.exists() or not is_repo_id(repo_id):
        if revision is not None:
            raise ValueError(f"Expected a revision of a model on the Hub, got one of {name!r}.")
        return layout.model_folder(folder / subfolder)
    if revision is not None and in_name:
        raise ValueError(f"Expected one revision, got {name!r} and revision={revision!r}.")
    return download(repo_id, FILES, revision=revision or in_name or None, subfolder=subfolder, **options)


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        found = "which is a file" if folder.exists() else "which does not exist"
        hint = suggestion(str(folder), layout.shipped_models())
        raise FileNotFoundError(
            f"Expected a folder with {', '.join(layout.NEEDED)}, org/name of a model on the Hub, or a name "
            f"that 'egat-hub list' shows, got {str(folder)!r}, {found}.{hint}"
        )
    missing = [name for name in layout.NEEDED if not (folder / name).is_file()]
    if not missing:
        return
    remedy = "Save the model with save_pretrained."
    if layout.WEIGHTS in missing and any(entry.suffix in PICKLES for entry in folder.iterdir()):
        remedy = (
            "Its weights are pickled, which can run foreign code, so they are not read. If you trust them, "
            "load them with timm and save the model with save_pretrained."
        )
    elif missing == [layout.MANIFEST]:
        remedy = (
            f"For a model saved by timm, use egat_hub.TimmModel(timm.create_model('local-dir:{folder}', "
            "pretrained=True))."
        )
    raise FileNotFoundError(f"{folder} has no {', '.join(missing)}. {remedy}")


def _check_fingerprint(fingerprint: Fingerprint, network: TimmModel, folder: Path, tolerance: float) -> None:
    try:
        if fingerprint.image_size != network.image_size:
            raise ValueError(f"its images have {fingerprint.image_size} pixels, not {network.image_size}")
        deviation = fingerprint.deviation(network)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"The fingerprint in {folder / layout.MANIFEST} does not fit the network: {str(error)[:500]}"
        ) from error
    if deviation > tolerance:
        raise ValueError(
            f"{folder} does not compute what was saved: on the fingerprint's images its logits differ by "
            f"{deviation:.2g} of their range ({tolerance} would be rounding). Either {layout.WEIGHTS} or "
            f"{layout.CONFIG} was changed after saving, or mean and std differ (normalised twice, or never). "
            "Save the model again, or download it with force_download=True."
        )


def resize(net: Any, image_size: int) -> None:
    """Let a network of fixed input size take another one, or raise a ValueError; most networks take any."""
    cfg = net.pretrained_cfg
    if not cfg.get("fixed_input_size"):
        return
    if not hasattr(net, "set_input_size"):
        height, width = cfg["input_size"][1:]
        raise ValueError(
            f"{cfg['architecture']} takes images of {height} x {width} only, got image_size={image_size}."
        )
    net.set_input_size((image_size, image_size))
