"""Figures that compare the heat maps of several models."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from egat_hub.attacks import Attack
from egat_hub.core.files import atomic_file
from egat_hub.data import EvaluationView
from egat_hub.data.images import to_image
from egat_hub.evaluation import EvaluationConfig
from egat_hub.explanations import EXPLANATIONS, Explanation, dead
from egat_hub.explanations.overlay import overlay, upsample
from egat_hub.explanations.similarity import TOP_SHARE
from egat_hub.models import TimmModel
from egat_hub.models.train_mode import evaluating

SMOOTHED = 1 / 48
"""Standard deviation of the smoothing of pixel-wise maps, relative to the side of the image."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Panel:
    """One image as one model sees it."""

    pixels: Tensor
    saliency: Tensor
    predicted: int
    probability: float
    dead: bool
    smoothed: bool


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure atomically, in the format of the file's suffix."""
    with atomic_file(path) as partial:
        figure.savefig(partial, dpi=110)


def case_study(
    models: Mapping[str, TimmModel],
    images: Tensor,
    labels: Tensor,
    label_names: Sequence[str],
    *,
    attack: Attack,
    epsilon: float,
    explanation: Explanation,
) -> Figure:
    """Saliency maps of several models on the same images, clean and attacked (Fig. 4 of the EGAT paper).

    Each image has two rows, clean and attacked: the image, then for every model the map of its predicted
    class, the class and its probability. Each model is attacked itself; the first column shows the attack on
    the first model. A white contour surrounds the top 20 % of a map. Pixel-wise maps are smoothed first.

    Args:
        models: networks by the name of their column.
        images: clean images [B,3,H,W] in [0,1].
        labels: true classes [B].
        label_names: one name per class.
        attack: attack on the predictions, with radius ``epsilon``.
        epsilon: L-infinity radius in [0, 1].
        explanation: explanation that makes the maps.
    """
    if not models or not len(images) or len(images) != len(labels):
        raise ValueError(
            f"Expected at least one model and as many labels as images, got {len(models)} models, "
            f"{len(images)} images and {len(labels)} labels."
        )
    columns = {}
    for name, model in models.items():
        clean = images.to(model.mean)
        attacked = attack(model, clean, labels.to(model.mean.device), epsilon)
        columns[name] = [_panels(model, seen, explanation) for seen in (clean, attacked)]
    lines, width = 2 * len(images), 1 + len(models)
    smoothed = any(panel.smoothed for shown in columns.values() for panels in shown for panel in panels)
    caption = _caption(attack, epsilon, explanation, len(images), smoothed, width=28 * width)
    height = 2.2 * lines + 0.17 * caption.count("\n") + 0.6
    figure = Figure(figsize=(1.9 * width + 0.4, height), layout="constrained")
    grid = figure.subplots(lines, width, squeeze=False)
    against = next(iter(models))
    for i, label in enumerate(labels.tolist()):
        texts = f"true: {label_names[label]}", f"attack on {against}"
        for version, (name, text) in enumerate(zip(("clean", "attacked"), texts, strict=True)):
            line = grid[2 * i + version]
            line[0].imshow(to_image(columns[against][version][i].pixels))
            line[0].set_ylabel(name)
            line[0].set_xlabel(text)
            for axes, panels in zip(line[1:], columns.values(), strict=True):
                _draw(axes, panels[version][i], label, label_names)
    for axes, name in zip(grid[0], ("image", *models), strict=True):
        axes.set_title(name)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    figure.supxlabel(caption, fontsize="small")
    return figure


@torch.no_grad()
def _panels(model: TimmModel, images: Tensor, explanation: Explanation) -> list[_Panel]:
    with evaluating(model):
        view = model.view(images)
        probabilities, predicted = view.logits.float().softmax(1).max(1)
        maps = explanation.of(model, view, predicted).float()
    shown, smoothed = maps, maps.shape[-2:] == images.shape[-2:]
    if smoothed:
        sigma = min(maps.shape[-2:]) * SMOOTHED
        shown = gaussian_blur(maps, [2 * round(3 * sigma) + 1] * 2, [sigma])
    return [
        _Panel(*panel, smoothed)
        for panel in zip(
            images.float().cpu(),
            upsample(shown, images.shape[-2:]).cpu(),
            predicted.tolist(),
            probabilities.tolist(),
            dead(maps).tolist(),
            strict=True,
        )
    ]


def _draw(axes: Axes, panel: _Panel, label: int, label_names: Sequence[str]) -> None:
    axes.imshow(overlay(to_image(panel.pixels), panel.saliency, alpha=0.6))
    text = f"{label_names[panel.predicted]} {panel.probability:.2f}"
    if panel.dead:
        text += "\n(no map)"
    else:
        level = panel.saliency.quantile(1 - TOP_SHARE).item()
        for colour, width in (("black", 2.4), ("white", 1.2)):
            axes.contour(panel.saliency.numpy(), levels=[level], colors=colour, linewidths=width)
    wrong = panel.predicted != label
    axes.set_xlabel(f"\N{BALLOT X} {text}" if wrong else text, weight="bold" if wrong else "normal")


def _caption(
    attack: Attack, epsilon: float, explanation: Explanation, n: int, smoothed: bool, *, width: int
) -> str:
    settings = {"epsilon": f"{epsilon:.4g}", **attack.protocol()}
    protocol = ", ".join(f"{key} {value}" for key, value in settings.items())
    sentences = (
        f"{type(explanation).__name__} of the predicted class, n = {n} images. Line: top {TOP_SHARE:.0%} of "
        f"the pixels{', of smoothed maps' if smoothed else ''}. \N{BALLOT X}: wrong class.",
        f"Attack on each model itself: {type(attack).__name__}, {protocol}.",
    )
    return "\n".join(textwrap.fill(sentence, width) for sentence in sentences)


def case_study_of(
    models: Mapping[str, TimmModel],
    view: EvaluationView,
    evaluation: EvaluationConfig,
    positions: Sequence[int] = (),
) -> Figure:
    """Maps of a few images, clean and at the largest budget of the evaluation.

    Args:
        models: networks by the name of their column.
        view: images of a test split.
        evaluation: attack, budgets and explanation.
        positions: positions of the images in the view; by default the first image of each of three classes.

    Raises:
        ValueError: no explanation, or a position out of range.
    """
    if evaluation.explanation is None:
        raise ValueError("A case study needs an explanation; set evaluation.explanation.")
    beyond = [position for position in positions if not 0 <= position < len(view)]
    if beyond:
        raise ValueError(f"Expected positions from 0 to {len(view) - 1}, got {', '.join(map(str, beyond))}.")
    of_view = view.domain.labels[view.indices]
    first = [int((of_view == label).argmax()) for label in range(min(3, len(view.domain.classes)))]
    items = [view[position] for position in positions or first]
    return case_study(
        models,
        torch.stack([item["image"] for item in items]),
        torch.stack([item["label"] for item in items]),
        view.domain.classes,
        attack=evaluation.build_attack(),
        epsilon=max(evaluation.epsilons, default=0.0),
        explanation=EXPLANATIONS[evaluation.explanation](),
    )
