"""``egat-hub attack``."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tabulate import tabulate
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor
from tqdm.auto import tqdm

from egat_hub.attacks import ATTACKS, Attack, attack_curve, to_eight_bits
from egat_hub.attacks.base import check_epsilon
from egat_hub.attacks.curve import LEVELS, ROUNDING
from egat_hub.cli.images import find_images, open_batches, open_model, png_of, warn_of_generated
from egat_hub.cli.main import Answer
from egat_hub.core.config import from_dict
from egat_hub.core.files import atomic_write_text
from egat_hub.core.randomness import SampleRandom
from egat_hub.data.images import to_image
from egat_hub.hub.classifier import Classifier
from egat_hub.models.train_mode import evaluating

INDEX = "attacked.json"
BATCH = 16


@dataclasses.dataclass(frozen=True)
class AttackedFile:
    """What a model predicts for an image and its attacked version.

    Attributes:
        truth: the true class.
        clean: the class predicted for the image.
        attacked: the class predicted for the attacked image, as its file holds it.
        robust: whether the attack failed, before rounding to 8 bits.
        distance: largest difference of a pixel between the files, in [0, 1].
    """

    truth: str
    clean: str
    attacked: str
    robust: bool
    distance: float

    @property
    def correct(self) -> bool:
        """Whether the prediction is right without an attack."""
        return self.clean == self.truth


def attack(
    model: str,
    images: Path,
    *,
    output: Path = Path("attacked"),
    attack: str = "pgd",
    epsilon: float = 0.01,
    options: dict[str, Any] | None = None,
    restarts: int = 1,
    seed: int = 0,
    label: str | None = None,
    predicted: bool = False,
    device: str | None = None,
) -> Answer:
    """Generate adversarial images and verify the saved files.

    Writes 8-bit PNG files: each image as the model sees it to clean/, and the attacked image to adversarial/.
    Every file is read again to check that it is within epsilon of its image, and to predict its class.
    Rounding to 8 bits can undo an attack: 'robust accuracy' is before rounding, 'of the files' after.

    The true class of an image is the name of its folder. Where no folder is named like a class, the model's
    prediction takes its place.

    example: egat-hub attack org/name photos --epsilon 4/255 --restarts 3

    Args:
        model: name in 'egat-hub list', folder of a saved model, or organization/name on the Hub.
        images: an image, or a folder that is searched with its subfolders, <class>/<image>.
        output: folder of the images and of attacked.json.
        attack: see 'egat-hub list --attacks'.
        epsilon: radius of the L-infinity ball, in [0, 1], such as 4/255.
        options: fields of the attack, such as '{"steps": 20}'.
        restarts: independent runs, the worst of which counts.
        seed: seed of the attack's starts.
        label: true class of all images.
        predicted: use the model's prediction as true class.
        device: such as cpu or cuda:1; default: the accelerator, if there is one.
    """
    check_epsilon(epsilon)
    if restarts < 1:
        raise ValueError(f"Expected at least 1 restart, got {restarts}.")
    if label is not None and predicted:
        raise ValueError("Expected --label or --predicted, got both; name one truth.")
    chosen = from_dict(ATTACKS[attack], options or {})
    output = output.expanduser()
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"Expected a folder for the output, but {output} is a file.")
    paths = find_images(images, outside=output)
    classifier = open_model(model, device)
    attack_files = partial(
        _attack_files, classifier, attack=chosen, epsilon=epsilon, restarts=restarts, seed=seed
    )
    warn_of_generated(classifier)
    known = classifier.label_names
    if label is not None and label not in known:
        raise ValueError(f"Expected a --label among {', '.join(known[:20])}, got {label!r}.")
    folders = {path: path.absolute().parent.name for path in paths}
    predicted = predicted or (label is None and not set(folders.values()) & set(known))
    number = {path: position for position, path in enumerate(paths)}
    problems: list[str] = []
    entries: list[tuple[Path, Path, AttackedFile]] = []
    batches = open_batches(paths, BATCH, problems)
    for batch in tqdm(batches, "Attacking", -(-len(paths) // BATCH), leave=False, disable=None):
        truths = {path: None if predicted else label or folders[path] for path, _ in batch}
        lost = [path for path, truth in truths.items() if truth not in (None, *known)]
        problems += [
            f"{path}: its folder {truths[path]!r} is not a class of the model, which are "
            f"{', '.join(known[:20])}; move it, or use --label or --predicted"
            for path in lost
        ]
        ready = {path: classifier.transform(image) for path, image in batch if path not in lost}
        if not ready:
            continue
        files = [
            (png_of(path, images, output / "clean"), png_of(path, images, output / "adversarial"))
            for path in ready
        ]
        found = attack_files(
            torch.stack([*ready.values()]),
            [truths[path] for path in ready],
            index=tuple(number[path] for path in ready),
            files=files,
        )
        made = (adversarial for _, adversarial in files)
        entries += zip(ready, made, found, strict=True)
    protocol = {"attack": attack, **chosen.protocol(), "epsilon": epsilon, "restarts": restarts, "seed": seed}
    listed = [
        {"image": str(path), "adversarial": str(made), **dataclasses.asdict(found)}
        for path, made, found in entries
    ]
    attacked = [found for *_, found in entries]
    data = {
        "protocol": protocol,
        "n": len(attacked),
        "clean_accuracy": _percent([one.correct for one in attacked]),
        "robust_accuracy": _percent([one.robust for one in attacked]),
        "robust_accuracy_of_files": _percent([one.correct and one.attacked == one.truth for one in attacked]),
        "images": listed,
    }
    if entries:
        atomic_write_text(output / INDEX, json.dumps(data, indent=1) + "\n")
    text = f"{_text(data, predicted)}\n\nWrote clean/, adversarial/ and {INDEX} to {output}"
    return Answer(text=text if entries else "No image was attacked.", data=data, problems=tuple(problems))


@torch.no_grad()
def _attack_files(
    classifier: Classifier,
    images: Tensor,
    truths: list[str | None],
    *,
    attack: Attack,
    epsilon: float,
    restarts: int,
    seed: int,
    index: tuple[int, ...],
    files: list[tuple[Path, Path]],
) -> list[AttackedFile]:
    """Attack a batch [B,3,S,S] in [0,1] with levels of 8 bits, write it, read it back and verify it.

    Args:
        truths: names of the true classes, or None for the predicted one.
        index: number of every image, the key of its random draws.
        files: paths for each clean and each attacked image.
    """
    names = classifier.label_names
    images = images.to(classifier.model.mean)
    with evaluating(classifier):
        predicted = classifier(images).argmax(1)
        labels = torch.tensor(
            [p if t is None else names.index(t) for t, p in zip(truths, predicted.tolist(), strict=True)]
        ).to(predicted)
        point = attack_curve(
            classifier,
            attack,
            images,
            labels,
            (epsilon,),
            restarts=restarts,
            random=SampleRandom(seed, index),
        )[0]
        levels = to_eight_bits(point.images, images, epsilon)
        for pixels, paths in zip(zip(images, levels, strict=True), files, strict=True):
            for one, path in zip(pixels, paths, strict=True):
                to_image(one).save(path)
        read = torch.stack([_read(attacked) for _, attacked in files]).to(images)
        clean = torch.stack([_read(path) for path, _ in files]).to(images)
        distances = (read - clean).abs().flatten(1).amax(1).tolist()
        attacked = classifier(read).argmax(1)
    for distance, (_, path) in zip(distances, files, strict=True):
        if distance > epsilon + ROUNDING / LEVELS:
            raise OSError(f"{path} is {distance:.5f} away from its image, not {epsilon}; do not use it.")
    rows = zip(
        labels.tolist(),
        predicted.tolist(),
        attacked.tolist(),
        point.correct.tolist(),
        distances,
        strict=True,
    )
    return [
        AttackedFile(names[t], names[p], names[a], robust, distance) for t, p, a, robust, distance in rows
    ]


def _read(path: Path) -> Tensor:
    with Image.open(path) as image:
        return pil_to_tensor(image).float() / LEVELS


def _percent(right: list[bool]) -> float | None:
    return 100 * sum(right) / len(right) if right else None


def _text(data: dict[str, Any], predicted: bool) -> str:
    lines = [(one["image"], one["truth"], one["clean"], one["attacked"]) for one in data["images"]]
    table = tabulate(lines, ("image", "truth", "clean", "attacked file"), disable_numparse=True)
    protocol = ", ".join(
        f"{key} {value:.4g}" if type(value) is float else f"{key} {value}"
        for key, value in data["protocol"].items()
    )
    truth = "the model's predictions" if predicted else "the folders' names, or --label"
    return (
        f"{table}\n\nImages: {data['n']}; true classes: {truth}\nAttack: {protocol}\n"
        f"Clean accuracy {data['clean_accuracy']:.1f} %, robust accuracy {data['robust_accuracy']:.1f} %, "
        f"of the files {data['robust_accuracy_of_files']:.1f} %"
    )
