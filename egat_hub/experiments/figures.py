"""The case study of an experiment."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure

from egat_hub.backbone import Backbone
from egat_hub.data import EvaluationView
from egat_hub.engine import EvaluationConfig
from egat_hub.explanations import EXPLANATIONS
from egat_hub.plots import case_study

IMAGES = 3


def case_study_of(
    models: Mapping[str, Backbone], view: EvaluationView, evaluation: EvaluationConfig
) -> Figure:
    """Maps of the first image of each of three classes, clean and at the largest budget of the evaluation.

    Args:
        models: networks by the name that heads their column.
        view: images of a test split.
        evaluation: names attack, budgets and explanation.

    Raises:
        ValueError: no explanation.
    """
    if evaluation.explanation is None:
        raise ValueError("There is no case study without an explanation; set evaluation.explanation.")
    labels = view.domain.labels[view.indices]
    positions = [int((labels == label).argmax()) for label in range(min(IMAGES, len(view.domain.classes)))]
    items = [view[position] for position in positions]
    return case_study(
        models,
        torch.stack([item["image"] for item in items]),
        torch.stack([item["label"] for item in items]),
        view.domain.classes,
        attack=evaluation.build_attack(),
        epsilon=max(evaluation.epsilons, default=0.0),
        explanation=EXPLANATIONS[evaluation.explanation](),
    )
