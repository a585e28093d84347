"""Save and load models as folders that timm, the Hugging Face Hub and this package read alike."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from egat_hub.backbone import Backbone
from egat_hub.cards import model_name, render_card
from egat_hub.classifier import Classifier, check_label_names
from egat_hub.fingerprint import TOLERANCE, Fingerprint
from egat_hub.manifest import Manifest
from egat_hub.results import Row, write_rows
from egat_hub.timm_folder import CONFIG, WEIGHTS, read_network, write_network
from egat_hub.whole_folder import whole_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANIFEST = "egat.json"
RESULTS = "results.json"
CARD = "README.md"
RESTORE_HINT = (
    "It was made with arguments that timm did not record; name them in metadata['model_args'], as "
    "timm.create_model takes them."
)


def save_pretrained(
    backbone: Backbone,
    folder: str | Path,
    *,
    label_names: Sequence[str],
    metadata: Mapping[str, Any] | None = None,
    rows: Sequence[Row] = (),
    figures: Mapping[str, Figure] | None = None,
) -> None:
    """Write a model, its card and its figures into ``folder``, whole or not at all.

    The weights are stored in float32. Everything is written beside the folder first, loaded back and
    compared; only then does it take the folder's place.

    Args:
        backbone: the trained network; it is not changed.
        folder: where to; an earlier save there is replaced.
        label_names: one name a class, in the order of the logits.
        metadata: how the model came to be, of JSON types; :func:`egat_hub.cards.render_card` lists the keys
            that the card knows. ``model_args`` holds what ``timm.create_model`` needs and did not record.
        rows: what was measured.
        figures: matplotlib figures by file name, without ending.

    Raises:
        ValueError: label names that do not fit, metadata that is not JSON, logits that are not finite, or a
            network that ``config.json`` cannot restore.
        FileExistsError: ``folder`` holds something else than a saved model.
    """
    metadata, figures = metadata or {}, figures or {}
    names = check_label_names(label_names, backbone.num_classes)
    _check_metadata(metadata)
    _check_figure_names(figures)
    backbone = copy.deepcopy(backbone).to("cpu", torch.float32).to(memory_format=torch.contiguous_format)
    fingerprint = Fingerprint.of(backbone)
    license = _license(backbone, metadata)
    with whole_folder(Path(folder).expanduser(), may_hold=_is_ours) as partial:
        write_network(
            backbone,
            partial,
            label_names=names,
            model_args=metadata.get("model_args"),
            tag=model_name(backbone.architecture, metadata).partition(".")[2],
            license=license,
        )
        _check_restored(partial, fingerprint)
        Manifest(names, fingerprint, metadata).write(partial / MANIFEST)
        write_rows(partial / RESULTS, rows)
        for name, figure in figures.items():
            figure.savefig(partial / f"{name}.png", dpi=150, bbox_inches="tight")
        card = render_card(
            rows=rows,
            metadata=metadata,
            label_names=names,
            architecture=backbone.architecture,
            image_size=backbone.image_size,
            license=license,
            figures=tuple(f"{name}.png" for name in figures),
        )
        (partial / CARD).write_text(card, encoding="utf-8")


def from_pretrained(
    folder: str | Path, *, num_classes: int | None = None, image_size: int | None = None
) -> Classifier:
    """Load a model that :func:`save_pretrained` wrote, in eval mode, on the CPU.

    Args:
        folder: folder with ``config.json``, ``model.safetensors`` and ``egat.json``; no pickle is ever read.
        num_classes: give the network a new, untrained head of that many classes, named ``"0"``, ``"1"``...
        image_size: side of the square images to come; by default that of training.

    Raises:
        FileNotFoundError: no such folder, or a file is missing.
        ValueError: a file that is malformed or does not fit the others, a model that does not compute what
            was saved, or an image size that the network cannot take.
    """
    folder = Path(folder).expanduser()
    _check_files(folder)
    manifest = Manifest.read(folder / MANIFEST)
    net: Any = read_network(folder)
    try:
        names = check_label_names(manifest.label_names, net.num_classes)
    except ValueError as error:
        raise ValueError(f"{folder / MANIFEST} does not fit {folder / CONFIG}: {error}") from error
    backbone = Backbone(net)
    _check_fingerprint(manifest.fingerprint, backbone, folder)
    if num_classes not in (None, backbone.num_classes):
        net.reset_classifier(num_classes)
        names = tuple(str(index) for index in range(num_classes))
        backbone = Backbone(net)
    if image_size not in (None, backbone.image_size):
        _resize(net, image_size)
        backbone = Backbone(net, image_size=image_size)
    return Classifier(backbone, names, manifest.metadata).eval()


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    try:
        json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected metadata of JSON types ({error}); pass configs through egat_hub.config.to_dict."
        ) from error


def _check_figure_names(names: Iterable[str]) -> None:
    wrong = [name for name in names if not re.fullmatch(r"[A-Za-z0-9_-]+", name)]
    if wrong:
        raise ValueError(
            f"Expected figure names of letters, digits, - and _, got {', '.join(map(repr, wrong))}."
        )


def _is_ours(name: str) -> bool:
    return name in (CONFIG, WEIGHTS, MANIFEST, RESULTS, CARD) or name.endswith(".png")


def _license(backbone: Backbone, metadata: Mapping[str, Any]) -> str:
    """What the metadata says; else fine-tuned weights keep the licence of their source."""
    source = backbone.net.pretrained_cfg.get("license") if "base_model" in metadata else None
    return metadata.get("license") or source or "apache-2.0"


def _check_restored(folder: Path, fingerprint: Fingerprint) -> None:
    try:
        restored = fingerprint.deviation(Backbone(read_network(folder))) <= TOLERANCE
    except ValueError as error:
        raise ValueError(f"The network cannot be restored from {CONFIG}. {RESTORE_HINT}") from error
    if not restored:
        raise ValueError(f"The network restored from {CONFIG} gives other logits. {RESTORE_HINT}")


def _check_files(folder: Path) -> None:
    wanted = (CONFIG, WEIGHTS, MANIFEST)
    if not folder.is_dir():
        found = "which is a file" if folder.exists() else "which does not exist"
        raise FileNotFoundError(f"Expected a folder with {', '.join(wanted)}, got {str(folder)!r}, {found}.")
    missing = [name for name in wanted if not (folder / name).is_file()]
    if not missing:
        return
    remedy = "Save the model with egat_hub.save_pretrained."
    if WEIGHTS in missing and any((*folder.glob("*.bin"), *folder.glob("*.pt*"))):
        remedy = (
            "Its weights are pickled, which can run foreign code, so they are not read: where you trust "
            "them, load them with timm and save the model with egat_hub.save_pretrained."
        )
    elif missing == [MANIFEST]:
        remedy = (
            "For a model saved by timm alone, use "
            f"egat_hub.Backbone(timm.create_model('local-dir:{folder}', pretrained=True))."
        )
    raise FileNotFoundError(
        f"Expected a folder with {', '.join(wanted)}, got {str(folder)!r} without {', '.join(missing)}. "
        f"{remedy}"
    )


def _check_fingerprint(fingerprint: Fingerprint, backbone: Backbone, folder: Path) -> None:
    try:
        deviation = fingerprint.deviation(backbone)
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"The fingerprint in {folder / MANIFEST} does not fit the network: {error}"
        ) from error
    if deviation > TOLERANCE:
        raise ValueError(
            f"{folder} does not compute what was saved: on the fingerprint's images its logits are off by "
            f"{deviation:.2g} of their range ({TOLERANCE} would be rounding). Either {WEIGHTS} or {CONFIG} "
            "was changed after saving, or mean and std differ (normalisation applied twice, or never). Fetch "
            "or save the model again."
        )


def _resize(net: Any, image_size: int) -> None:
    """Let a network of fixed input size take another one; most networks take any."""
    cfg = net.pretrained_cfg
    if not cfg.get("fixed_input_size"):
        return
    if not hasattr(net, "set_input_size"):
        height, width = cfg["input_size"][1:]
        raise ValueError(
            f"{cfg['architecture']} takes images of {height} x {width} only, got image_size={image_size}."
        )
    net.set_input_size((image_size, image_size))
