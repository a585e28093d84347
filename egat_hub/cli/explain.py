"""``egat-hub explain``."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from tabulate import tabulate
from tqdm.auto import tqdm

from egat_hub.cli.main import Answer
from egat_hub.core.files import atomic_write_text

INDEX = "explanations.json"
BATCH = 16


def explain(
    model: str,
    images: tuple[Path, ...],
    *,
    output: Path = Path("explanations"),
    explanation: str = "grad_cam",
    label: str | None = None,
    alpha: float = 0.5,
    overlay_only: bool = False,
    device: str | None = None,
) -> Answer:
    """Predict the class of images and show where the model looks.

    Writes a picture <image>.png for every image, with the saliency map over the image at its own size and the
    three most probable classes; and explanations.json with labels, probabilities, and whether the map is dead
    (constant, so that it shows nothing).

    example: egat-hub explain synthetic-tiny photos --output maps

    Args:
        model: name in 'egat-hub list', folder of a saved model or a run, or org/name on the Hub.
        images: images, or folders that are searched with their subfolders.
        output: folder of the pictures.
        explanation: see 'egat-hub list --explanations'.
        label: class to explain; default: the predicted class of each image.
        alpha: weight of the map in the overlay, in [0, 1].
        overlay_only: write the overlay alone instead.
        device: such as cpu or cuda:1; default: the accelerator, if there is one.
    """
    from egat_hub.cli.images import find_images, open_batches, open_model, png_of, warn_of_generated
    from egat_hub.explanations import EXPLANATIONS
    from egat_hub.hub.prediction import ImageLike

    output = output.expanduser()
    if not images:
        raise ValueError("Expected images or folders of images after the model, got none.")
    if not 0 <= alpha <= 1:
        raise ValueError(f"Expected alpha in [0, 1], got {alpha}.")
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"Expected a folder for the output, but {output} is a file.")
    explainer = EXPLANATIONS[explanation]()
    places = {path: place for place in images for path in find_images(place, outside=output)}
    pictures = {path: png_of(path, place, output) for path, place in places.items()}
    twice = [str(picture) for picture, count in Counter(pictures.values()).items() if count > 1]
    if twice:
        raise ValueError(f"Several images would be written to {twice[0]}; explain them one after another.")
    classifier = open_model(model, device)
    warn_of_generated(classifier)
    problems: list[str] = []
    entries = []
    batches = open_batches(list(places), BATCH, problems)
    for batch in tqdm(batches, "Explaining", -(-len(places) // BATCH), leave=False, disable=None):
        opened: list[ImageLike] = [image for _, image in batch]
        found = classifier.explain(opened, label, explanation=explainer)
        for (path, _), why in zip(batch, found, strict=True):
            (why.overlay(alpha) if overlay_only else why.panel(alpha)).save(pictures[path])
            entries.append(
                {
                    "image": str(path),
                    "label": why.label,
                    "probability": why.probability,
                    "probabilities": dict(why.probabilities),
                    "dead": why.dead,
                    "picture": str(pictures[path]),
                }
            )
    if entries:
        atomic_write_text(output / INDEX, json.dumps(entries, indent=1) + "\n")
    lines = [(entry["image"], entry["label"], f"{entry['probability']:.3f}") for entry in entries]
    table = tabulate(lines, ("image", "label", "probability"), disable_numparse=True)
    text = f"{table}\n\nPictures and {INDEX} are in {output}"
    return Answer(text=text, data=entries, problems=tuple(problems))
