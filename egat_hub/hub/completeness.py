"""Whether a place holds a model of this package, by the names and sizes of its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from huggingface_hub.hf_api import RepoSibling

from egat_hub.hub.layout import MANIFEST
from egat_hub.hub.model_id import ModelId
from egat_hub.json_file import MAX_BYTES
from egat_hub.timm_folder import WEIGHTS

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
            f"egat_hub.Backbone(timm.create_model({timm_name!r}, pretrained=True))."
        )
    return "Save the model with egat_hub.save_pretrained."
