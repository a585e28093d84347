"""Find published models."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from huggingface_hub import HfApi

from egat_hub.card_header import TAG
from egat_hub.hub.access import Access
from egat_hub.hub.errors import hub_errors
from egat_hub.hub.fetching import fetch
from egat_hub.hub.layout import MANIFEST, RESULTS
from egat_hub.hub.model_id import ModelId
from egat_hub.timm_folder import CONFIG
from egat_hub.zoo.index import shipped
from egat_hub.zoo.model import ZooModel

LIMIT = 1000
"""Most models of the Hub that are looked at."""


def list_models(
    *,
    dataset: str | None = None,
    backbone: str | None = None,
    method: str | None = None,
    attack: str | None = None,
    epsilon: float | None = None,
    hub: bool = False,
    author: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
) -> list[ZooModel]:
    """Published models, by name: those of the index that the package ships, and those of the Hub.

    Args:
        dataset: name of the data set trained on; as of ``backbone`` and ``method``, case does not count and
            ``*`` stands for anything.
        backbone: timm's name of the network, ``"resnet*"``.
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
    found = {model.repo_id: model for model in shipped()}
    if hub:
        access = Access(token=token, cache_dir=cache_dir)
        found |= {model.repo_id: model for model in _on_the_hub(author, access)}
    wanted = [
        model
        for model in found.values()
        if model.matches(dataset=dataset, backbone=backbone, method=method, attack=attack, epsilon=epsilon)
        and (author is None or model.repo_id.startswith(f"{author}/"))
    ]
    return sorted(wanted, key=lambda model: (model.name, model.repo_id))


def _on_the_hub(author: str | None, access: Access) -> Iterator[ZooModel]:
    """Models with this package's tag; one that cannot be read is left out with a warning."""
    with hub_errors(ModelId("the list of models"), "read"):
        listed = list(islice(HfApi(token=access.token).list_models(filter=TAG, author=author), LIMIT))
    for info in listed:
        try:
            folder = fetch(ModelId(info.id), access, names=(CONFIG, MANIFEST, RESULTS))
            yield ZooModel.of_folder(folder, repo_id=info.id, revision=folder.name)
        except (FileNotFoundError, PermissionError, ValueError) as error:
            warnings.warn(f"{info.id} is left out: {error}", stacklevel=3)
