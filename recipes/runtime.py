"""What a training step costs, method by method, as ratios within one run.

    python recipes/runtime.py --model resnet50 --image_size 112

Every round times each method once, in shuffled order; ratios are formed within a round and their median and
range are printed, so that a busy machine disturbs them little. A forward F or a backward to the input I of a
whole batch is one unit, a backward to the weights W two, for it passes through the network too, and a
backward through a backward D four, for it goes back through both; a step of ERM has three. The floor of EGAT
/ TRADES is what their counts cost at the unit costs measured in the same rounds.

PGD, TRADES and EGAT fold BatchNorm away while they attack; "unfolded" are the same without that.

The last line is the cost of judging maps: Comp and Suff of a model's map and of the controls at five shares,
one image, map and share at a time, over the same in batches.
"""

from __future__ import annotations

import itertools
import random
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median

import torch
from jsonargparse import auto_cli
from tabulate import tabulate
from torch import Tensor
from torch.nn import functional as F

from egat_hub.attacks import PGD
from egat_hub.backbone import Backbone, View, create_backbone
from egat_hub.explanations import GradCAM
from egat_hub.methods import EGAT, METHODS, AdversarialMethod, Method
from egat_hub.methods.cost import STEP, count_passes
from egat_hub.metrics import CONTROLS, Faithfulness
from egat_hub.modes import evaluating
from egat_hub.randomness import SampleRandom

SEPARATE = "egat, separate CAMs"
UNFOLDED = {name: f"{name}, unfolded" for name in ("trades", "egat")}
SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)


class SeparateForwardCAM(GradCAM):
    """Grad-CAM that runs the network again for every map, as libraries outside of the training step do."""

    def raw(self, backbone: Backbone, view: View, target: Tensor) -> Tensor:
        return super().raw(backbone, backbone.view(view.images), target)


def runtime(
    model: str = "resnet50",
    image_size: int = 112,
    batch_size: int = 8,
    rounds: int = 7,
    freeze_bn: bool = False,
    methods: tuple[str, ...] = tuple(METHODS),
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Time one optimiser step of every method.

    Args:
        model: timm's name of the network.
        image_size: side of the images in pixels.
        batch_size: images in a step.
        rounds: repetitions.
        freeze_bn: keep BatchNorm in eval mode, so that the views of a step share one forward.
        methods: names of those to time; ERM, TRADES and EGAT are always among them.
        device: where to run.
    """
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    images = torch.rand(batch_size, 3, image_size, image_size, device=device)
    labels = torch.arange(batch_size, device=device) % 5

    unknown = set(methods) - set(METHODS)
    if unknown:
        sys.exit(f"error: no such methods: {', '.join(sorted(unknown))}; there are {', '.join(METHODS)}")

    def build(name: str) -> Method:
        torch.manual_seed(0)
        net = create_backbone(
            model, num_classes=5, image_size=image_size, pretrained=False, freeze_bn=freeze_bn
        )
        return METHODS[name](net.to(device)).train()

    chosen = [name for name in METHODS if name in {"erm", "trades", "egat", *methods}]
    built = {name: build(name) for name in chosen}
    separate = build("egat")
    assert isinstance(separate, EGAT)
    separate.explanation = SeparateForwardCAM()
    built[SEPARATE] = separate
    for name, unfolded in UNFOLDED.items():
        built[unfolded] = method = build(name)
        assert isinstance(method, AdversarialMethod)
        method.foldable = ()
    units = {name: count_passes(method, images, labels) for name, method in built.items()}
    steps = {name: _step(method, images, labels) for name, method in built.items()}
    trades_method = built["trades"]
    assert isinstance(trades_method, AdversarialMethod)
    parts = _parts(trades_method, images, labels) | _judging(separate.backbone, images)
    times = _rounds({**steps, **parts}, rounds)
    erm, trades = times["erm"], times["trades"]
    lines = [
        [
            name,
            f"{u.forward:g} / {u.to_input:g} / {u.to_weights:g} / {u.through_backward:g}",
            f"{u.units:g}",
            f"{1000 * median(times[name]):.0f}",
            _ratio(times[name], erm),
            _ratio(times[name], trades),
        ]
        for name, u in units.items()
    ]
    print(
        f"{model}, {image_size} px, batch {batch_size}, {device}, {rounds} rounds, frozen BN: {freeze_bn}\n"
    )
    print(tabulate(lines, ["method", "F / I / W / D", "units", "ms", "/ ERM", "/ TRADES"], "github"))
    floor = [
        (attack + 3 * step) / (attack + forward + 2 * step)
        for attack, step, forward in zip(times["attack"], times["pass"], times["forward"], strict=True)
    ]
    ratio = [egat / other for egat, other in zip(times["egat"], trades, strict=True)]
    print(
        f"\nEGAT / TRADES over its floor of {median(floor):.3f} at measured unit costs "
        f"({units['egat'].units / units['trades'].units:.3f} in units): {_ratio(ratio, floor)}"
    )
    for name, unfolded in {"attack": "attack, unfolded", **UNFOLDED}.items():
        print(f"{name} / {unfolded}: {_ratio(times[name], times[unfolded])}")
    print(f"EGAT / EGAT with separate CAMs: {_ratio(times['egat'], times[SEPARATE])}")
    print(
        f"Comp and Suff at {len(SHARES)} shares, one by one / in batches of {batch_size}: "
        f"{_ratio(times['one by one'], times['batched'])}"
    )


def _step(method: Method, images: Tensor, labels: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-5)

    def step() -> None:
        method(images, labels, step=STEP)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _parts(method: AdversarialMethod, images: Tensor, labels: Tensor) -> dict[str, Callable[[], object]]:
    """What a step is made of: an attack, folded and not, a training pass, a forward without gradients."""
    backbone, attack = method.backbone, PGD()

    def folded_attack() -> None:
        with method.attacking():
            attack(backbone, images, labels, 0.01)

    def forward() -> None:
        with evaluating(backbone), torch.no_grad():
            backbone(images)

    def training_pass() -> None:
        F.cross_entropy(backbone(images), labels).backward()
        backbone.zero_grad()

    return {
        "attack": folded_attack,
        "attack, unfolded": lambda: attack(backbone, images, labels, 0.01),
        "pass": training_pass,
        "forward": forward,
    }


def _judging(backbone: Backbone, images: Tensor) -> dict[str, Callable[[], None]]:
    """Comp and Suff of all maps at all shares, batched, and as one would without a batch."""
    draws = SampleRandom(0, tuple(range(len(images))))
    with evaluating(backbone):
        classes = backbone(images).argmax(1)
        maps = GradCAM(relu=False, normalize="none")(backbone, images, classes).detach()
    judged = [maps, *(CONTROLS[name](maps, draws) for name in CONTROLS)]

    def judge(part: slice, saliency: Tensor, faithful: Faithfulness, p: Tensor) -> None:
        mine = SampleRandom(0, draws.index[part])
        faithful(backbone, images[part], saliency[part], classes[part], p, mine)

    def probability(part: slice) -> Tensor:
        with evaluating(backbone), torch.no_grad():
            return backbone(images[part]).softmax(1).gather(1, classes[part, None])[:, 0]

    def batched() -> None:
        p = probability(slice(None))
        for saliency in judged:
            judge(slice(None), saliency, Faithfulness(q=SHARES[0], shares=SHARES), p)

    def one_by_one() -> None:
        for saliency, number, q in itertools.product(judged, range(len(images)), SHARES):
            part = slice(number, number + 1)
            judge(part, saliency, Faithfulness(q=q), probability(part))

    return {"batched": batched, "one by one": one_by_one}


def _rounds(jobs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in jobs}
    order = list(jobs)
    for number in range(rounds + 1):
        random.shuffle(order)
        for name in order:
            _wait()
            started = time.perf_counter()
            jobs[name]()
            _wait()
            if number:  # the first round warms up
                times[name].append(time.perf_counter() - started)
    return times


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _ratio(times: list[float], other: list[float]) -> str:
    ratios = [a / b for a, b in zip(times, other, strict=True)]
    return f"{median(ratios):.3f} [{min(ratios):.3f}..{max(ratios):.3f}]"


if __name__ == "__main__":
    auto_cli(runtime, as_positional=False)
