"""The case study of an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure

from egat_hub.backbone import Backbone
from egat_hub.data import EvaluationView
from egat_hub.engine import EvaluationConfig
from egat_hub.explanations import EXPLANATIONS
from egat_hub.plots import case_study

IMAGES = 3


def case_study_of(
    models: Mapping[str, Backbone],
    view: EvaluationView,
    evaluation: EvaluationConfig,
    positions: Sequence[int] = (),
) -> Figure:
    """Maps of chosen images, clean and at the largest budget of the evaluation.

    Args:
        models: networks by the name that heads their column.
        view: images of a test split.
        evaluation: names attack, budgets and explanation.
        positions: which images of the view; by default the first of each of three classes, so that nobody
            picks those that look best.

    Raises:
        ValueError: no explanation, or a position that the view does not have.
    """
    if evaluation.explanation is None:
        raise ValueError("There is no case study without an explanation; set evaluation.explanation.")
    beyond = [position for position in positions if not 0 <= position < len(view)]
    if beyond:
        raise ValueError(f"Expected positions from 0 to {len(view) - 1}, got {', '.join(map(str, beyond))}.")
    items = [view[position] for position in positions or _first_of_classes(view)]
    return case_study(
        models,
        torch.stack([item["image"] for item in items]),
        torch.stack([item["label"] for item in items]),
        view.domain.classes,
        attack=evaluation.build_attack(),
        epsilon=max(evaluation.epsilons, default=0.0),
        explanation=EXPLANATIONS[evaluation.explanation](),
    )


def _first_of_classes(view: EvaluationView) -> list[int]:
    labels = view.domain.labels[view.indices]
    return [int((labels == label).argmax()) for label in range(min(IMAGES, len(view.domain.classes)))]
