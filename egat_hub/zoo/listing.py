"""Find models."""

from __future__ import annotations

from pathlib import Path

from egat_hub.hub.access import Access
from egat_hub.zoo.index import shipped
from egat_hub.zoo.model import ZooModel


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
    """Models, by name: those that this release knows, and those of the Hub.

    Of some that this release knows, only card and figures are published; :attr:`ZooModel.place` says so.

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
    found = shipped()
    if hub:
        from egat_hub.zoo.hub_listing import models_of_the_hub

        known = {model.repo_id for model in found}
        there = models_of_the_hub(author, Access(token=token, cache_dir=cache_dir))
        found += [model for model in there if model.repo_id not in known]
    wanted = [
        model
        for model in found
        if model.matches(dataset=dataset, backbone=backbone, method=method, attack=attack, epsilon=epsilon)
        and (author is None or model.repo_id.startswith(f"{author}/"))
    ]
    return sorted(wanted, key=lambda model: (model.name, model.source))
