"""Compare PGD-10 and Grad-CAM with other packages: time and results.

    python recipes/peers.py --model resnet50 --image-size 112

Uses torchattacks and foolbox for the attack, captum and pytorch-grad-cam for maps, where installed.
torchattacks pins a version of requests from 2020, so install it without dependencies in an environment of
its own:

    pip install --no-deps torchattacks grad-cam ttach
    pip install foolbox scikit-learn opencv-python-headless

Every round times each package once, in shuffled order. Ratios are formed within a round; the median and
range are printed. All attacks take the same ten steps of epsilon / 4 from the clean images. To show that
they do equal work, the share of values that differ from ours and the cross-entropy reached are printed,
too; rounding alone changes images within ten sign steps. The network has random weights and BatchNorm
statistics of random images.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from statistics import median

import torch
from tabulate import tabulate
from timing import interleaved, machine, random_batch, ratio
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.attacks import PGD
from egat_hub.core.options import run_command
from egat_hub.explanations import GradCAM
from egat_hub.models import TimmModel, create_model
from egat_hub.models.folding import find_pairs, folded
from egat_hub.models.train_mode import is_batchnorm

STEPS, LENGTH = 10, 0.25
"""Number of steps, and step size relative to epsilon."""

OWN = "own, folded"
PACKAGES = ("torch", "timm", "torchattacks", "foolbox", "captum", "grad-cam")

Work = Callable[[], Tensor]


def peers(
    *,
    model: str = "resnet50",
    image_size: int = 112,
    batch_size: int = 8,
    epsilon: float = 0.01,
    rounds: int = 7,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Time an attack and a batch of maps.

    Args:
        model: timm's name of the network.
        image_size: side of the images in pixels.
        batch_size: number of images.
        epsilon: attack budget.
        rounds: number of repetitions.
        device: device to run on.
    """
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    net = create_model(model, num_classes=5, image_size=image_size, pretrained=False).to(device)
    _settle(net, batch_size, image_size, device)
    images, labels = random_batch(batch_size, image_size, 5, device)
    print(f"{model}, {image_size} px, batch {batch_size}, {rounds} rounds\n{machine(device, PACKAGES)}\n")
    jobs = attacks(net, images, labels, epsilon)
    _compare(f"PGD-{STEPS}", jobs, rounds, scale=epsilon, loss=partial(_loss, net, labels))
    apart = _apart(net, jobs[OWN]())
    print(f"Folding changes logits of attacked images by {apart:.1e} of the largest.\n")
    _compare("Grad-CAM", maps(net, images, labels), rounds)


def _settle(net: TimmModel, batch_size: int, image_size: int, device: str) -> None:
    """Estimate BatchNorm statistics on random batches; with initial ones, activations vanish or explode."""
    for module in net.train().modules():
        if is_batchnorm(module):
            module.momentum = None  # the mean of all batches
    with torch.no_grad():
        for _ in range(4):
            net(torch.rand(batch_size, 3, image_size, image_size, device=device))
    net.eval()


def attacks(net: TimmModel, images: Tensor, labels: Tensor, epsilon: float) -> dict[str, Work]:
    """Implementations of the same attack; ours first."""
    own = PGD(steps=STEPS, step_size=LENGTH, start="clean")
    pairs, contiguous = find_pairs(net, images[:2]), copy.deepcopy(net)
    last = copy.deepcopy(net).to(memory_format=torch.channels_last)

    def own_folded() -> Tensor:
        with folded(net, pairs):
            return own(net, images, labels, epsilon)

    found: dict[str, Work] = {
        OWN: own_folded,
        "own, unfolded": lambda: own(net, images, labels, epsilon),
        "plain loop, channels_last": lambda: _loop(
            last, images.contiguous(memory_format=torch.channels_last), labels, epsilon
        ),
    }
    if find_spec("torchattacks"):
        import torchattacks

        attack = torchattacks.PGD(
            contiguous, eps=epsilon, alpha=LENGTH * epsilon, steps=STEPS, random_start=False
        )
        found["torchattacks"] = lambda: attack(images, labels)
    if find_spec("foolbox"):
        import foolbox

        victim = foolbox.PyTorchModel(contiguous, bounds=(0, 1), device=images.device)
        other = foolbox.attacks.LinfPGD(abs_stepsize=LENGTH * epsilon, steps=STEPS, random_start=False)
        goal = foolbox.criteria.Misclassification(labels)
        found["foolbox"] = lambda: other.run(victim, images, goal, epsilon=epsilon)
    return found


def maps(net: TimmModel, images: Tensor, labels: Tensor) -> dict[str, Work]:
    """Implementations of the same maps, scaled to [0, 1]; ours first. Others hook the feature layer."""
    found: dict[str, Work] = {OWN.split(",")[0]: lambda: GradCAM()(net, images, labels).detach()}
    layer = last_layer(net, images)
    if layer is not None and find_spec("captum"):
        from captum.attr import LayerGradCam

        hooked = LayerGradCam(net, layer)
        found["captum"] = lambda: _stretched(
            hooked.attribute(images, target=labels, relu_attributions=True)[:, 0]
        )
    if layer is not None and find_spec("pytorch_grad_cam"):
        from pytorch_grad_cam import GradCAM as OtherGradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        cam = OtherGradCAM(model=net, target_layers=[layer])
        goals = [ClassifierOutputTarget(label) for label in labels.tolist()]
        found["pytorch-grad-cam"] = lambda: torch.from_numpy(cam(input_tensor=images, targets=goals))
    return found


@torch.no_grad()
def last_layer(net: TimmModel, images: Tensor) -> nn.Module | None:
    """The last module that outputs the feature map; None if no module does."""
    outputs: dict[nn.Module, object] = {}
    hooks = [
        module.register_forward_hook(lambda m, args, out: outputs.update({m: out}))
        for module in net.net.modules()
    ]
    features = net.features(images)
    for hook in hooks:
        hook.remove()
    same = [m for m, out in outputs.items() if isinstance(out, Tensor) and out is features]
    return same[-1] if same else None


def _loop(net: TimmModel, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    perturbed = images.clone()
    for _ in range(STEPS):
        perturbed = perturbed.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(net(perturbed), labels, reduction="sum"), perturbed)
        moved = perturbed.detach() + LENGTH * epsilon * gradient.sign()
        perturbed = torch.minimum(torch.maximum(moved, images - epsilon), images + epsilon).clamp(0, 1)
    return perturbed.contiguous()


def _stretched(maps: Tensor) -> Tensor:
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return ((maps - low) / (high - low).clamp_min(1e-6)).detach()


def _compare(
    title: str,
    jobs: dict[str, Work],
    rounds: int,
    scale: float = 1.0,
    loss: Callable[[Tensor], float] | None = None,
) -> None:
    """Print times, ratios to the first job, the share of values that differ from it, and the loss reached."""
    first, *_ = jobs
    expected = jobs[first]().cpu()
    times = interleaved(jobs, rounds)
    lines = []
    for name, job in jobs.items():
        found = job().cpu()
        alike = found.shape == expected.shape
        differs = ((found - expected).abs() > 1e-3 * scale).float().mean().item() if alike else None
        shown = "other size" if differs is None else f"{100 * differs:.2f} %"
        lines.append([name, f"{1000 * median(times[name]):.1f}", ratio(times[name], times[first]), shown])
        lines[-1] += [f"{loss(found):.4f}"] if loss else []
    titles = [title, "ms", f"/ {first}", "differs", *(["loss"] if loss else [])]
    print(tabulate(lines, titles, "github", disable_numparse=True), end="\n\n")


@torch.no_grad()
def _loss(net: TimmModel, labels: Tensor, found: Tensor) -> float:
    return F.cross_entropy(net(found.to(net.mean.device)), labels).item()


@torch.no_grad()
def _apart(net: TimmModel, attacked: Tensor) -> float:
    """Largest change of a logit by folding, relative to the largest logit."""
    own = net(attacked)
    with folded(net, find_pairs(net, attacked[:2])):
        return ((net(attacked) - own).abs().max() / own.abs().max()).item()


if __name__ == "__main__":
    run_command(peers)
