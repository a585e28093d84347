"""Test the smallest network of every timm family: explain, attack, train, save and load it.

    python recipes/backbones.py --output docs/backbones.md
    python recipes/backbones.py --families cait xcit

Results are appended to a journal, so interrupted runs resume. Weights are random; nothing is downloaded.
"refused" means that the network has no map that its logits depend on, "fails" anything else.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_parameter_registration_hook

from egat_hub.attacks import PGD
from egat_hub.core.files import atomic_write_text
from egat_hub.explanations import GradCAM
from egat_hub.hub import from_pretrained, save_pretrained
from egat_hub.methods import EGAT
from egat_hub.models import TimmModel, create_model
from egat_hub.models.train_mode import evaluating, is_batchnorm


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a family.

    Attributes:
        family: timm's name of the module.
        model: the network that was tried.
        millions: its parameters, in millions.
        image_size: side of the images in pixels.
        grid: side of the map.
        head_form: how the logits come from the features.
        feature_layer: where the features are taken.
        result: ``works``, ``refused: ...`` or ``fails: ...``.
        timm: version of timm.
    """

    family: str
    model: str = ""
    millions: float = 0.0
    image_size: int = 0
    grid: int = 0
    head_form: str = ""
    feature_layer: str = ""
    result: str
    timm: str

    @property
    def kind(self) -> str:
        """``works``, ``refused`` or ``fails``."""
        return self.result.partition(":")[0]


def append_outcome(path: Path, outcome: Outcome) -> None:
    """Add a line; an unfinished one at the end, of a run that was killed, is ended first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text() if path.is_file() else ""
    with path.open("a") as file:
        file.write("\n" if text and not text.endswith("\n") else "")
        file.write(json.dumps(dataclasses.asdict(outcome)) + "\n")


def read_outcomes(path: Path, timm: str) -> dict[str, Outcome]:
    """The last outcome of every family with that version of timm; lines that cannot be read are left out."""
    found: dict[str, Outcome] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            outcome = Outcome(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if outcome.timm == timm:
            found[outcome.family] = outcome
    return found


CLASSES = 5


def smallest(family: str) -> tuple[str, int]:
    """Name and number of parameters of the smallest network of a family that can be given classes.

    Networks are built without memory, and no further than the smallest one so far.

    Raises:
        ValueError: timm does not know the family, or there is no classifier in it.
    """
    if family not in timm.list_modules():
        raise ValueError(f"timm has no family {family!r}; there are {', '.join(timm.list_modules())}.")
    names = [name for name in timm.list_models(module=family) if not name.startswith("test_")]
    best, least = None, 2**62
    for name in sorted(names, key=len):
        try:
            with torch.device("meta"), _at_most(least), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                net: Any = timm.create_model(name, num_classes=CLASSES)
        except Exception:  # larger than the best, or not a network that takes classes
            continue
        count = sum(parameter.numel() for parameter in net.parameters())
        if getattr(net, "num_classes", 0) == CLASSES and count < least:
            best, least = name, count
    if best is None:
        raise ValueError(f"No network of {family} can be given classes.")
    return best, least


class _TooLarge(Exception):
    pass


@contextmanager
def _at_most(limit: int) -> Iterator[None]:
    used = 0

    def count(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        nonlocal used
        used += 0 if parameter is None else parameter.numel()
        if used > limit:
            raise _TooLarge

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


BEGIN, END = "<!-- families: begin -->", "<!-- families: end -->"
HEADER = ("family", "model", "parameters", "image size", "head", "features from", "grid", "result")
ROW = re.compile(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", re.MULTILINE)


def summary(outcomes: Iterable[Outcome]) -> str:
    """How many families work, are refused and fail."""
    outcomes = list(outcomes)
    kinds = Counter(outcome.kind for outcome in outcomes)
    return (
        f"{len(outcomes)} of the {len(timm.list_modules())} families of timm {timm.__version__} tried: "
        f"{kinds['works']} work, {kinds['refused']} are refused, {kinds['fails']} fail."
    )


def table(outcomes: Iterable[Outcome]) -> str:
    """A Markdown table, one line a family, and the summary."""
    outcomes = sorted(outcomes, key=lambda outcome: outcome.family)
    lines = [_line(HEADER), _line(["---"] * len(HEADER))]
    for one in outcomes:
        cells = (
            f"`{one.family}`",
            f"`{one.model}`" if one.model else "",
            f"{one.millions:.1f} M" if one.millions else "",
            str(one.image_size or ""),
            one.head_form,
            f"`{one.feature_layer}`" if one.feature_layer else "",
            f"{one.grid} x {one.grid}" if one.grid else "",
            one.result.replace("|", "/"),
        )
        lines.append(_line(cells))
    return "\n".join([*lines, "", summary(outcomes)])


def read_table(text: str) -> dict[str, str]:
    """Results by family, as the table of a page has them."""
    return {family: result.strip() for family, result in ROW.findall(_between(text))}


def put_table(page: Path, outcomes: Iterable[Outcome]) -> None:
    """Put the table between the two marks of a page.

    Raises:
        ValueError: the page does not have both marks, once each and in order.
    """
    text = page.read_text()
    old = _between(text)
    atomic_write_text(page, text.replace(BEGIN + old + END, f"{BEGIN}\n{table(outcomes)}\n{END}"))


def _between(text: str) -> str:
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"Expected a page with {BEGIN} and, after it, {END}, once each.")
    return text.partition(BEGIN)[2].partition(END)[0]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


EPSILON = 0.01


def check_forward(network: TimmModel, images: Tensor, _options: dict[str, Any]) -> None:
    """Logits are finite, and those of the plain network on normalized images."""
    with evaluating(network), torch.no_grad():
        found = network(images)
        expected = network.net((images - network.mean) / network.std)
    _require(bool(found.isfinite().all()), "logits are not finite")
    largest = expected.abs().max().item()
    difference = (found - expected).abs().max().item()
    _require(difference <= 1e-4 * largest, f"logits differ by {difference:.2g} of {largest:.2g}")


def check_grad_cam(network: TimmModel, images: Tensor, _options: dict[str, Any]) -> None:
    """Maps are finite and not constant, and of the size of the grid."""
    with evaluating(network):
        maps = GradCAM(relu=False, normalize="max")(network, images).detach()
        with torch.no_grad():
            grid = network.grid(network.features(images))
    _require(bool(maps.isfinite().all()), "maps are not finite")
    _require(maps.shape == (len(images), *grid.shape[2:]), f"maps {tuple(maps.shape)} on {tuple(grid.shape)}")
    _require(grid.shape[1] == network.channels, f"{grid.shape[1]} channels, not {network.channels}")
    _require(bool((maps.flatten(1).std(1) > 1e-6).all()), "maps are constant")


def check_attack(network: TimmModel, images: Tensor, _options: dict[str, Any]) -> None:
    """A step of PGD moves pixels, and none further than epsilon.

    Labels are the least likely classes: a random network can be so sure of one that its loss is flat there.
    """
    with evaluating(network), torch.no_grad():
        labels = network(images).argmin(1)
    moved = (PGD(steps=1, start="clean")(network, images, labels, EPSILON) - images).abs().amax((1, 2, 3))
    _require(bool((moved > 0).all()), "the attack does not move")
    _require(bool((moved <= EPSILON + 1e-6).all()), f"the attack moves by {moved.max().item():.4f}")


def check_training(network: TimmModel, images: Tensor, _options: dict[str, Any]) -> None:
    """The loss of EGAT is finite, and trains every parameter that the network itself trains."""
    labels = torch.arange(len(images))
    F.cross_entropy(network.train()(images), labels).backward()
    used = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    network.zero_grad()
    method = EGAT(network, attack_steps=1).train()
    loss = method(images, labels)["loss"]
    loss.backward()
    _require(bool(loss.isfinite()), "the loss is not finite")
    for name in used:
        gradient = network.get_parameter(name).grad
        _require(gradient is not None and bool(gradient.isfinite().all()), f"no finite gradient of {name}")
    network.zero_grad()


def check_saving(network: TimmModel, images: Tensor, options: dict[str, Any]) -> None:
    """A saved model gives the same logits."""
    names = [f"class {number}" for number in range(network.num_classes)]
    with tempfile.TemporaryDirectory() as folder, evaluating(network), torch.no_grad():
        save_pretrained(network, f"{folder}/model", label_names=names, metadata={"model_args": options})
        found = from_pretrained(f"{folder}/model")(images)
        difference = (found - network(images)).abs().max().item()
    _require(difference <= 1e-4 * found.abs().max().item(), f"saved logits differ by {difference:.2g}")


CHECKS: dict[str, Callable[[TimmModel, Tensor, dict[str, Any]], None]] = {
    "forward": check_forward,
    "PGD": check_attack,
    "Grad-CAM": check_grad_cam,
    "EGAT": check_training,
    "saving": check_saving,
}


def _require(fits: bool, otherwise: str) -> None:
    if not fits:
        raise AssertionError(otherwise)


SIZES = (64, 96, 128, 160, 192, 224, 256)
"""Sides of images to try, before the one that a network was made for."""

LIMIT = 120_000_000
"""Networks of more parameters are made of two blocks, where they take such a number."""

IMAGES = 2


def try_family(family: str) -> Outcome:
    """Try the smallest network of a family at the smallest image size that gives a map; nothing is raised."""
    found: dict[str, Any] = {"family": family, "timm": timm.__version__}
    stage = "choosing"
    try:
        name, count = smallest(family)
        found |= {"model": name, "millions": round(count / 1e6, 1)}
        options = {"depth": 2} if count > LIMIT and _takes_depth(name) else {}
        stage = "wrapping"
        network, options = _wrap(name, options)
        if "depth" in options:
            found["model"] += f" (depth={options['depth']})"
            found["millions"] = round(sum(p.numel() for p in network.parameters()) / 1e6, 1)
        found |= {
            "image_size": network.image_size,
            "head_form": network.head_form,
            "feature_layer": network.feature_layer,
            "grid": _side(network),
        }
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(IMAGES, 3, network.image_size, network.image_size, generator=generator)
        for stage, check in CHECKS.items():
            if network.head_form == "independent" and stage in ("Grad-CAM", "EGAT"):
                found.setdefault("result", f"refused: {network.obstacle}")
            else:
                check(network, images, options)
            gc.collect()
    except Exception as error:  # an outcome like any other
        lines = str(error).strip().splitlines() or [""]
        found["result"] = f"fails: {stage}: {type(error).__name__}: {lines[0][:200]}"
    finally:
        gc.collect()
    return Outcome(**{"result": "works", **found})


def _wrap(name: str, options: dict[str, Any]) -> tuple[TimmModel, dict[str, Any]]:
    """The network at the smallest size that it takes and that leaves a map of more than one position."""
    cfg = timm.get_pretrained_cfg(name)
    for size in SIZES:
        given = options | ({"img_size": size} if cfg and cfg.fixed_input_size else {})
        if not _takes(name, size, given):
            continue
        try:
            network = _create(name, size, options)
        except Exception:  # the next size, and at last that which it was made for
            continue
        if _side(network) > 1:
            return network, given
    return _create(name, None, options), options


def _takes_depth(name: str) -> bool:
    try:
        with torch.device("meta"):
            timm.create_model(name, depth=2)
    except TypeError:
        return False
    return True


@torch.no_grad()
def _takes(name: str, size: int, options: dict[str, Any]) -> bool:
    """Whether the network runs at a size, found out without memory."""
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net: Any = timm.create_model(name, num_classes=CLASSES, **options).eval()
            net(torch.empty(IMAGES, 3, size, size))
    except Exception:
        return False
    return True


def _create(name: str, size: int | None, options: dict[str, Any]) -> TimmModel:
    torch.manual_seed(0)
    network = create_model(name, num_classes=CLASSES, image_size=size, pretrained=False, **options)
    with torch.no_grad():
        for parameter in network.parameters():  # logits that are zero tell nothing
            if parameter.ndim > 1 and not parameter.any():
                parameter.normal_(std=0.02)
    _calibrate(network)
    return network


@torch.no_grad()
def _calibrate(network: TimmModel) -> None:
    """Let BatchNorm measure a batch: with the statistics of a new network, activations fade away."""
    norms = {norm: norm.momentum for norm in network.modules() if is_batchnorm(norm)}
    if norms:
        for norm in norms:
            norm.momentum = 1.0
        images = torch.rand(4 * IMAGES, 3, network.image_size, network.image_size)
        network.train()(images)
        for norm, momentum in norms.items():
            norm.momentum = momentum


@torch.no_grad()
def _side(network: TimmModel) -> int:
    size = network.image_size
    features = network.features(torch.zeros(IMAGES, 3, size, size))
    return network.grid(features).shape[-1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Try the families that are not in the journal yet, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = timm.list_modules()
    parser.add_argument("--families", nargs="+", default=known, metavar="FAMILY", help="all by default")
    parser.add_argument("--output", type=Path, help="page whose table is replaced")
    parser.add_argument(
        "--journal",
        type=Path,
        default=Path("runs/backbones.jsonl"),
        help="file of the outcomes so far, one a line; families in it are not tried again",
    )
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.families) - set(known))
    if unknown:
        parser.error(f"timm has no family {', '.join(unknown)}; there are {', '.join(known)}")
    if options.output and not options.output.is_file():
        parser.error(f"--output must be a page with a table, such as docs/backbones.md; no {options.output}")
    done = read_outcomes(options.journal, timm.__version__)
    for family in options.families:
        if family not in done:
            done[family] = try_family(family)
            append_outcome(options.journal, done[family])
        one = done[family]
        print(
            f"{family}: {one.model}, {one.image_size} px, {one.head_form}, {one.feature_layer}, {one.result}",
            flush=True,
        )
    print(summary(done[family] for family in options.families))
    if options.output:
        put_table(options.output, done.values())


if __name__ == "__main__":
    main()
