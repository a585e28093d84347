"""``egat-hub doctor``."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from tabulate import tabulate

from egat_hub.cli.main import Answer

NAME = "egat-hub"
FOR_DEVELOPERS = ("test", "dev")


class Finding(NamedTuple):
    """Result of a check; the command fails if it is ``broken``, which a missing extra is not."""

    what: str
    state: str
    remedy: str = ""
    broken: bool = False


def doctor(*, online: bool = False, data: str = "folder", data_dir: Path | None = None) -> Answer:
    """Check the installation: Python, packages, extras, devices, the Hub, and optionally a data set.

    Shows the command that installs what is missing. Makes no network requests without --online.

    example: egat-hub doctor --data vlcs --data.dir VLCS

    Args:
        online: check the connection to the Hub and the account of the token.
        data: data set in --data_dir: a benchmark (vlcs, pacs...) or folder.
        data_dir: folder of a data set to check; images are not decoded.
    """
    findings = [Finding("Python", platform.python_version()), *_packages(), *_devices(), *_hub(online)]
    if data_dir is not None:
        findings += _data(data, data_dir)
    lines = [finding[:3] for finding in findings]
    return Answer(
        text=tabulate(lines, ("what", "state", "to do"), disable_numparse=True),
        data=[finding._asdict() for finding in findings],
        problems=tuple(f"{found.what}: {found.state}. {found.remedy}" for found in findings if found.broken),
    )


def _packages() -> Iterator[Finding]:
    yield Finding(NAME, metadata.version(NAME))
    extras = metadata.metadata(NAME).get_all("Provides-Extra") or ()
    for extra in ("", *(name for name in extras if name not in FOR_DEVELOPERS)):
        for requirement in map(Requirement, metadata.requires(NAME) or ()):
            marker = requirement.marker
            wanted = marker.evaluate({"extra": extra}) if marker and extra else not marker and not extra
            if wanted and requirement.name != NAME:
                yield _package(requirement, extra)


def _package(requirement: Requirement, extra: str) -> Finding:
    what = f"{requirement.name} (extra {extra})" if extra else requirement.name
    remedy = f"pip install '{NAME}[{extra}]'" if extra else f"pip install '{requirement}'"
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Finding(what, "missing", remedy, broken=not extra)
    if requirement.specifier.contains(found, prereleases=True):
        return Finding(what, found)
    return Finding(what, f"{found}, expected {requirement.specifier}", remedy, broken=not extra)


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("devices", f"PyTorch cannot be imported: {error}", "pip install torch", broken=True)
        return
    yield Finding("CPU", f"{torch.get_num_threads()} threads")
    if not torch.accelerator.is_available():
        yield Finding("accelerator", "none", "see https://pytorch.org/get-started if this machine has one")
        return
    kind = torch.accelerator.current_accelerator()
    for index in range(torch.accelerator.device_count()):
        name = torch.cuda.get_device_name(index) if kind and kind.type == "cuda" else ""
        yield Finding(f"{kind}:{index}", name or "available")


def _hub(online: bool) -> Iterator[Finding]:
    from huggingface_hub import constants, get_token

    token = get_token()
    yield Finding("Hub", f"{constants.ENDPOINT}{', offline mode' if constants.HF_HUB_OFFLINE else ''}")
    yield Finding("Hub token", *(("found",) if token else ("none", "hf auth login, to publish")))
    cache = Path(constants.HF_HUB_CACHE)
    there = next(place for place in (cache, *cache.parents) if place.exists())
    yield Finding("Hub cache", f"{cache}, {shutil.disk_usage(there).free / 1e9:.0f} GB free")
    if online:
        yield from _connection(token)


def _connection(token: str | None) -> Iterator[Finding]:
    from huggingface_hub import HfApi

    from egat_hub.hub.remote import hub_errors

    try:
        with hub_errors("Cannot reach", "the Hub"):
            if token:
                yield Finding("Hub account", HfApi(token=token).whoami()["name"])
            else:
                next(iter(HfApi(token=False).list_models(limit=1)), None)
                yield Finding("Hub connection", "works")
    except OSError as error:
        yield Finding("Hub connection", "fails", str(error), broken=True)


def _data(kind: str, folder: Path) -> Iterator[Finding]:
    from egat_hub.core.registry import UnknownNameError
    from egat_hub.data import DataConfig, open_dataset

    try:
        dataset = open_dataset(DataConfig(name=kind, dir=str(folder)), verify=False)
    except (ValueError, OSError, UnknownNameError) as error:
        yield Finding(f"data in {folder}", "unusable", str(error), broken=True)
        return
    for domain in dataset.values():
        yield Finding(f"domain {domain.name}", f"{len(domain)} images, classes: {', '.join(domain.classes)}")
