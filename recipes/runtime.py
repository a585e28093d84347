"""What a training step costs, method by method, as ratios within one run.

    python recipes/runtime.py --model resnet50 --image-size 112

Every round times each method once, in shuffled order; ratios are formed within a round and their median and
range are printed, so that a busy machine disturbs them little. A forward F or a backward to the input I of a
whole batch is one unit, a backward to the weights W two, for it passes through the network too, and a
backward through a backward D four, for it goes back through both; a step of ERM has three. The floor of EGAT
/ TRADES is what their counts cost at the unit costs measured in the same rounds.

The roofline of a method is its units times a third of a training pass, which has three; what is above it is
waste, and what is below it is cheaper than it counts, as the attack is on a folded network.

PGD, TRADES and EGAT fold BatchNorm away while they attack; "unfolded" are the same without that. "TRADES, by
hand" is the usual code around a network of timm in float32, with nothing of this package, once more in the
layout that is fastest on CPUs.
Where BatchNorm trains, every view has a forward of its own; with joint views (an option of all methods) one
forward has them all, and one set of statistics. With ``--bfloat16`` EGAT is timed with only its attack,
and with the whole step, in bfloat16 too.

The last line is the cost of judging maps: Comp and Suff of a model's map and of the controls at five shares,
one image, map and share at a time, over the same in batches.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import torch
from tabulate import tabulate
from timing import (
    interleaved,
    machine,
    random_batch,
    ratio,
    training_pass,
    training_step,
)
from torch import Tensor
from torch.nn import functional as F

from egat_hub.attacks import PGD
from egat_hub.core.options import run
from egat_hub.core.randomness import SampleRandom
from egat_hub.explanations import GradCAM
from egat_hub.methods import EGAT, METHODS, AdversarialMethod, Method
from egat_hub.methods.cost import Passes, count_passes
from egat_hub.metrics import CONTROLS, Faithfulness
from egat_hub.models import TimmModel, create_model
from egat_hub.models.modes import evaluating
from egat_hub.models.timm_model import View

SEPARATE = "egat, separate CAMs"
BY_HAND, LAST = "TRADES, by hand", "TRADES, by hand, channels last"
JOINT = "egat, joint views"
BFLOAT16_ATTACK, BFLOAT16 = "egat, attack in bfloat16", "egat, all in bfloat16"
UNFOLDED = {name: f"{name}, unfolded" for name in ("trades", "egat")}
SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)

Times = Mapping[str, Sequence[float]]
"""Seconds in every round, by name."""


class SeparateForwardCAM(GradCAM):
    """Grad-CAM that runs the network again for every map, as libraries outside of the training step do."""

    def raw(self, network: TimmModel, view: View, target: Tensor) -> Tensor:
        return super().raw(network, network.view(view.images), target)


def runtime(
    *,
    model: str = "resnet50",
    image_size: int = 112,
    batch_size: int = 8,
    rounds: int = 7,
    freeze_bn: bool = False,
    bfloat16: bool = False,
    without_comparisons: bool = False,
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
        bfloat16: also time EGAT in lower precision.
        without_comparisons: leave out TRADES and EGAT unfolded, EGAT with separate CAMs, and the judging
            of maps.
        methods: names of those to time; ERM, TRADES and EGAT are always among them.
        device: where to run.
    """
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    images, labels = random_batch(batch_size, image_size, 5, device)

    def build(name: str, **options: Any) -> Method:
        torch.manual_seed(0)
        net = create_model(model, num_classes=5, image_size=image_size, pretrained=False, freeze_bn=freeze_bn)
        return METHODS[name](net.to(device), **options).train()

    comparisons = not without_comparisons
    built = {name: build(name) for name in dict.fromkeys(("erm", *methods, "trades", "egat"))}
    built |= _variants(build, joint=not freeze_bn, comparisons=comparisons, bfloat16=bfloat16)
    units = {name: count_passes(method, images, labels) for name, method in built.items()}
    jobs = {
        name: training_step(method, images, labels, precision=torch.bfloat16 if name == BFLOAT16 else None)
        for name, method in built.items()
    }
    jobs[BY_HAND] = _by_hand(build("erm").model, images, labels, torch.contiguous_format)
    jobs[LAST] = _by_hand(build("erm").model, images, labels, torch.channels_last)
    jobs |= _parts(built["trades"], images, labels)
    if comparisons:
        jobs |= _judging(built[SEPARATE].model, images)
    times = interleaved(jobs, rounds)
    print(f"{model}, {image_size} px, batch {batch_size}, {rounds} rounds, frozen BN: {freeze_bn}")
    print(f"{machine(device)}\n")
    _print_steps(times, units)
    _print_rooflines(times, units)
    for name, unfolded in {"attack": "attack, unfolded", **(UNFOLDED if comparisons else {})}.items():
        print(f"{name} / {unfolded}: {ratio(times[name], times[unfolded])}")
    if comparisons:
        print(f"EGAT / EGAT with separate CAMs: {ratio(times['egat'], times[SEPARATE])}")
        print(
            f"Comp and Suff at {len(SHARES)} shares, one by one / in batches of {batch_size}: "
            f"{ratio(times['one by one'], times['batched'])}"
        )


def _variants(
    build: Callable[..., Method], *, joint: bool, comparisons: bool, bfloat16: bool
) -> dict[str, Method]:
    """EGAT and TRADES as they could be run otherwise."""
    found: dict[str, Method] = {}
    if joint:
        found[JOINT] = build("egat", views="joint")
    if comparisons:
        separate = build("egat")
        assert isinstance(separate, EGAT)
        separate.explanation = SeparateForwardCAM()
        found[SEPARATE] = separate
        for name, unfolded in UNFOLDED.items():
            found[unfolded] = method = build(name)
            assert isinstance(method, AdversarialMethod)
            method.foldable = ()
    if bfloat16:
        found[BFLOAT16_ATTACK] = build("egat", attack_dtype="bfloat16")
        found[BFLOAT16] = build("egat")
    return found


def _print_steps(times: Times, units: Mapping[str, Passes]) -> None:
    """A line for every step, and what TRADES and EGAT take of TRADES by hand."""
    lines = [
        [
            name,
            f"{u.forward:g} / {u.to_input:g} / {u.to_weights:g} / {u.through_backward:g}",
            f"{u.units:g}",
            f"{1000 * median(times[name]):.0f}",
            *(ratio(times[name], times[other]) for other in ("erm", "trades", BY_HAND)),
            ratio(times[name], [u.units * seconds / 3 for seconds in times["pass"]]),
        ]
        for name, u in units.items()
    ]
    titles = ["method", "F / I / W / D", "units", "ms", "/ ERM", "/ TRADES", f"/ {BY_HAND}", "/ roofline"]
    print(tabulate(lines, titles, "github"))
    for name in (BY_HAND, LAST):
        over = [f"{other} {ratio(times[other], times[name])}" for other in ("trades", "egat")]
        print(f"\n{name}: {1000 * median(times[name]):.0f} ms; {', '.join(over)} of it")


def _print_rooflines(times: Times, units: Mapping[str, Passes]) -> None:
    """What a unit takes, and EGAT / TRADES over what follows for it from the times of their parts."""
    attack = median(times["attack"]) / (2 * PGD().steps)
    print(
        f"\nRoofline: units x {1000 * median(times['pass']) / 3:.1f} ms, a third of a training pass. "
        f"A unit of the folded attack takes {1000 * attack:.1f} ms."
    )
    floor = [
        (attack + 3 * step) / (attack + forward + 2 * step)
        for attack, step, forward in zip(times["attack"], times["pass"], times["forward"], strict=True)
    ]
    measured = [egat / trades for egat, trades in zip(times["egat"], times["trades"], strict=True)]
    print(
        f"\nEGAT / TRADES over its floor of {median(floor):.3f} at measured unit costs "
        f"({units['egat'].units / units['trades'].units:.3f} in units): {ratio(measured, floor)}"
    )


def _by_hand(
    network: TimmModel, images: Tensor, labels: Tensor, layout: torch.memory_format
) -> Callable[[], None]:
    net = network.net.to(memory_format=layout)
    images = ((images - network.mean) / network.std).contiguous(memory_format=layout)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-5)
    epsilon, steps = 0.01, PGD().steps

    def step() -> None:
        net.eval()
        with torch.no_grad():
            target = net(images).softmax(1)
        moved = images + 0.001 * torch.randn_like(images)
        for _ in range(steps):
            moved.requires_grad_()
            divergence = F.kl_div(net(moved).log_softmax(1), target, reduction="sum")
            (slope,) = torch.autograd.grad(divergence, moved)
            moved = moved.detach() + epsilon / 4 * slope.sign()
            moved = torch.clamp(moved, images - epsilon, images + epsilon)
        net.train(not network.freeze_bn)
        clean, attacked = net(images), net(moved)
        kl = F.kl_div(attacked.log_softmax(1), clean.softmax(1), reduction="batchmean")
        (F.cross_entropy(clean, labels) + 6 * kl).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _parts(method: Method, images: Tensor, labels: Tensor) -> dict[str, Callable[[], object]]:
    """What a step is made of: an attack, folded and not, a training pass, a forward without gradients."""
    assert isinstance(method, AdversarialMethod)
    network, attack = method.model, PGD()

    def folded_attack() -> None:
        with method.attacking():
            attack(network, images, labels, 0.01)

    def forward() -> None:
        with evaluating(network), torch.no_grad():
            network(images)

    return {
        "attack": folded_attack,
        "attack, unfolded": lambda: attack(network, images, labels, 0.01),
        "pass": training_pass(network, images, labels),
        "forward": forward,
    }


def _judging(network: TimmModel, images: Tensor) -> dict[str, Callable[[], None]]:
    """Comp and Suff of all maps at all shares, batched, and as one would without a batch."""
    draws = SampleRandom(0, tuple(range(len(images))))
    with evaluating(network):
        classes = network(images).argmax(1)
        maps = GradCAM(relu=False, normalize="none")(network, images, classes).detach()
    judged = [maps, *(CONTROLS[name](maps, draws) for name in CONTROLS)]

    def judge(part: slice, saliency: Tensor, faithful: Faithfulness, p: Tensor) -> None:
        mine = SampleRandom(0, draws.index[part])
        faithful(network, images[part], saliency[part], classes[part], p, mine)

    def probability(part: slice) -> Tensor:
        with evaluating(network), torch.no_grad():
            return network(images[part]).softmax(1).gather(1, classes[part, None])[:, 0]

    def batched() -> None:
        p = probability(slice(None))
        for saliency in judged:
            judge(slice(None), saliency, Faithfulness(q=SHARES[0], shares=SHARES), p)

    def one_by_one() -> None:
        for saliency, number, q in itertools.product(judged, range(len(images)), SHARES):
            part = slice(number, number + 1)
            judge(part, saliency, Faithfulness(q=q), probability(part))

    return {"batched": batched, "one by one": one_by_one}


if __name__ == "__main__":
    run(runtime)
