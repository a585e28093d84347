"""``egat-hub explain``."""

from __future__ import annotations

import json
from pathlib import Path

from tabulate import tabulate
from tqdm.auto import tqdm

from egat_hub.cli.main import Answer
from egat_hub.core.files import atomic_write_text

INDEX = "explanations.json"
BATCH = 16


def explain(
    model: str,
    images: Path,
    *,
    output: Path = Path("explanations"),
    explanation: str = "grad_cam",
    label: str | None = None,
    alpha: float = 0.5,
    device: str | None = None,
) -> Answer:
    """Predict the class of images and draw where the model looks.

    Writes a heat map <image>.png for every image, and explanations.json with label, probabilities and
    whether the map is dead (constant, so that it says nothing).

    example: egat-hub explain synthetic-tiny photos --output maps

    Args:
        model: name in 'egat-hub list', folder of a saved model, or organisation/name on the Hub.
        images: an image, or a folder that is searched with its sub-folders.
        output: folder of the heat maps.
        explanation: how to explain: grad_cam, finer_cam, smooth_grad...
        label: class to explain; by default the predicted one of every image.
        alpha: share of the map in the picture, in [0, 1].
        device: such as cpu or cuda:1; by default the accelerator that is found.
    """
    from egat_hub.cli.images import find_images, open_batches, open_model, png_of
    from egat_hub.explanations import EXPLANATIONS
    from egat_hub.hub.classifier import ImageLike

    if not 0 <= alpha <= 1:
        raise ValueError(f"Expected alpha in [0, 1], got {alpha}.")
    way, paths = EXPLANATIONS[explanation](), find_images(images, outside=output)
    classifier = open_model(model, device)
    output = output.expanduser()
    problems: list[str] = []
    entries = []
    batches = open_batches(paths, BATCH, problems)
    for batch in tqdm(batches, "Explaining", -(-len(paths) // BATCH), leave=False, disable=None):
        opened: list[ImageLike] = [image for _, image in batch]
        found = classifier.explain(opened, label, explanation=way)
        for (path, _), why in zip(batch, found, strict=True):
            drawn = png_of(path, images, output)
            why.overlay(alpha).save(drawn)
            entries.append(
                {
                    "image": str(path),
                    "label": why.label,
                    "probability": why.probability,
                    "probabilities": dict(why.probabilities),
                    "dead": why.dead,
                    "heat_map": str(drawn),
                }
            )
    if entries:
        atomic_write_text(output / INDEX, json.dumps(entries, indent=1) + "\n")
    lines = [
        (entry["image"], entry["label"], f"{entry['probability']:.3f}", entry["heat_map"])
        for entry in entries
    ]
    table = tabulate(lines, ("image", "label", "probability", "heat map"), disable_numparse=True)
    return Answer(text=table, data=entries, problems=tuple(problems))
