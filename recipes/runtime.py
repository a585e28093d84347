"""Time a training step of every method, relative to ERM, to TRADES and to a cost model.

    python recipes/runtime.py --model resnet50 --image-size 112

Every round times each method once, in shuffled order. Ratios are formed within a round; the median and
range are printed, which limits the effect of a busy machine. The cost of a step is in forward-equivalents:
a forward (F) or a backward to the input (I) of a batch counts 1, a backward to the weights (W) 2, and a
double backward (D) 4. A step of ERM costs 3.

The expected time of a method is its cost times a third of a training pass of the network. A method can be
faster, because attacks run on a folded network. The last ratio of EGAT / TRADES uses costs measured in the
same rounds.

PGD, TRADES and EGAT fold BatchNorm during attacks; "unfolded" variants do not. "TRADES, by hand" is the
usual loop around a timm network in float32 without this package, also in channels-last format. Where
BatchNorm trains, clean, attacked and mixed images have a forward each; with joint views they share one
forward and its statistics. ``--bfloat16`` also times EGAT with only the attack, and with the whole step, in
bfloat16.

The last line compares Faithfulness of the model's maps and the controls at five shares, computed one
image, map and share at a time, with batches.
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
from egat_hub.core.options import run_command
from egat_hub.core.randomness import SampleRandom
from egat_hub.explanations import GradCAM
from egat_hub.methods import EGAT, METHODS, AdversarialMethod, Method
from egat_hub.metrics import CONTROLS, Faithfulness
from egat_hub.metrics.training_cost import Passes, count_passes
from egat_hub.models import TimmModel, create_model
from egat_hub.models.timm_model import View
from egat_hub.models.train_mode import evaluating

SEPARATE = "egat, separate CAMs"
BY_HAND, LAST = "TRADES, by hand", "TRADES, by hand, channels last"
JOINT = "egat, joint views"
BFLOAT16_ATTACK, BFLOAT16 = "egat, attack in bfloat16", "egat, all in bfloat16"
UNFOLDED = {name: f"{name}, unfolded" for name in ("trades", "egat")}
SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)

Times = Mapping[str, Sequence[float]]
"""Seconds in every round, by name."""


class SeparateForwardCAM(GradCAM):
    """Grad-CAM with a forward of its own for every map, as in libraries outside of the training step."""

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
    """Time one training step of every method.

    Args:
        model: timm's name of the network.
        image_size: side of the images in pixels.
        batch_size: images per step.
        rounds: number of repetitions.
        freeze_bn: keep BatchNorm in eval mode, so that all images of a step share one forward.
        bfloat16: also time EGAT in bfloat16.
        without_comparisons: skip unfolded TRADES and EGAT, EGAT with separate CAMs, and Faithfulness.
        methods: methods to time, in addition to ERM, TRADES and EGAT.
        device: device to run on.
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
    costs = {name: count_passes(method, images, labels) for name, method in built.items()}
    jobs = {
        name: training_step(method, images, labels, precision=torch.bfloat16 if name == BFLOAT16 else None)
        for name, method in built.items()
    }
    jobs[BY_HAND] = _by_hand(build("erm").model, images, labels, torch.contiguous_format)
    jobs[LAST] = _by_hand(build("erm").model, images, labels, torch.channels_last)
    jobs |= _parts(built["trades"], images, labels)
    if comparisons:
        jobs |= _faithfulness(built[SEPARATE].model, images)
    times = interleaved(jobs, rounds)
    print(f"{model}, {image_size} px, batch {batch_size}, {rounds} rounds, frozen BN: {freeze_bn}")
    print(f"{machine(device)}\n")
    _print_steps(times, costs)
    _print_expected(times, costs)
    for name, unfolded in {"attack": "attack, unfolded", **(UNFOLDED if comparisons else {})}.items():
        print(f"{name} / {unfolded}: {ratio(times[name], times[unfolded])}")
    if comparisons:
        print(f"EGAT / EGAT with separate CAMs: {ratio(times['egat'], times[SEPARATE])}")
        print(
            f"faithfulness at {len(SHARES)} shares, one by one / in batches of {batch_size}: "
            f"{ratio(times['one by one'], times['batched'])}"
        )


def _variants(
    build: Callable[..., Method], *, joint: bool, comparisons: bool, bfloat16: bool
) -> dict[str, Method]:
    """Variants of EGAT and TRADES."""
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
            method._foldable = ()
    if bfloat16:
        found[BFLOAT16_ATTACK] = build("egat", attack_dtype="bfloat16")
        found[BFLOAT16] = build("egat")
    return found


def _print_steps(times: Times, costs: Mapping[str, Passes]) -> None:
    """Print a row per method, and TRADES and EGAT relative to TRADES by hand."""
    lines = [
        [
            name,
            f"{u.forward:g} / {u.to_input:g} / {u.to_weights:g} / {u.through_backward:g}",
            f"{u.units:g}",
            f"{1000 * median(times[name]):.0f}",
            *(ratio(times[name], times[other]) for other in ("erm", "trades", BY_HAND)),
            ratio(times[name], [u.units * seconds / 3 for seconds in times["pass"]]),
        ]
        for name, u in costs.items()
    ]
    titles = ["method", "F / I / W / D", "cost", "ms", "/ ERM", "/ TRADES", f"/ {BY_HAND}", "/ expected"]
    print(tabulate(lines, titles, "github"))
    for name in (BY_HAND, LAST):
        over = [f"{other} {ratio(times[other], times[name])}" for other in ("trades", "egat")]
        print(f"\n{name}: {1000 * median(times[name]):.0f} ms; {', '.join(over)} times as long")


def _print_expected(times: Times, costs: Mapping[str, Passes]) -> None:
    """Print seconds per unit of cost, and EGAT / TRADES relative to the prediction of their parts."""
    attack = median(times["attack"]) / (2 * PGD().steps)
    print(
        f"\nExpected: cost x {1000 * median(times['pass']) / 3:.1f} ms, a third of a training pass. "
        f"A forward or backward of the folded attack takes {1000 * attack:.1f} ms."
    )
    expected = [
        (attack + 3 * step) / (attack + forward + 2 * step)
        for attack, step, forward in zip(times["attack"], times["pass"], times["forward"], strict=True)
    ]
    measured = [egat / trades for egat, trades in zip(times["egat"], times["trades"], strict=True)]
    print(
        f"\nEGAT / TRADES relative to {median(expected):.3f}, expected from the times of their parts "
        f"({costs['egat'].units / costs['trades'].units:.3f} by the cost model): {ratio(measured, expected)}"
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
            (gradient,) = torch.autograd.grad(divergence, moved)
            moved = moved.detach() + epsilon / 4 * gradient.sign()
            moved = torch.clamp(moved, images - epsilon, images + epsilon)
        net.train(not network.freeze_bn)
        clean, attacked = net(images), net(moved)
        kl = F.kl_div(attacked.log_softmax(1), clean.softmax(1), reduction="batchmean")
        (F.cross_entropy(clean, labels) + 6 * kl).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _parts(method: Method, images: Tensor, labels: Tensor) -> dict[str, Callable[[], object]]:
    """Parts of a step: the attack, folded and not, a training pass, and a forward without gradients."""
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


def _faithfulness(network: TimmModel, images: Tensor) -> dict[str, Callable[[], None]]:
    """Comprehensiveness and sufficiency of all maps at all shares, batched and one by one."""
    draws = SampleRandom(0, tuple(range(len(images))))
    with evaluating(network):
        classes = network(images).argmax(1)
        maps = GradCAM(relu=False, normalize="none")(network, images, classes).detach()
    compared = [maps, *(CONTROLS[name](maps, draws) for name in CONTROLS)]

    def measure(part: slice, saliency: Tensor, faithful: Faithfulness, p: Tensor) -> None:
        mine = SampleRandom(0, draws.index[part])
        faithful(network, images[part], saliency[part], classes[part], p, mine)

    def probability(part: slice) -> Tensor:
        with evaluating(network), torch.no_grad():
            return network(images[part]).softmax(1).gather(1, classes[part, None])[:, 0]

    def batched() -> None:
        p = probability(slice(None))
        for saliency in compared:
            measure(slice(None), saliency, Faithfulness(q=SHARES[0], shares=SHARES), p)

    def one_by_one() -> None:
        for saliency, number, q in itertools.product(compared, range(len(images)), SHARES):
            part = slice(number, number + 1)
            measure(part, saliency, Faithfulness(q=q), probability(part))

    return {"batched": batched, "one by one": one_by_one}


if __name__ == "__main__":
    run_command(runtime)
