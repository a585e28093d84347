"""``egat-hub attack``."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from tabulate import tabulate
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor
from tqdm.auto import tqdm

from egat_hub.attacks import Attack, attack_curve, to_eight_bits
from egat_hub.attacks.curve import ROUNDING
from egat_hub.cli.main import Answer
from egat_hub.core.config import from_dict
from egat_hub.core.files import atomic_write_text
from egat_hub.core.randomness import SampleRandom
from egat_hub.data.images import to_image
from egat_hub.hub.classifier import Classifier
from egat_hub.models.modes import evaluating

LEVELS = 255


@dataclass(frozen=True, kw_only=True)
class Assault:
    """An attack with everything that decides what it finds.

    Attributes:
        attack: the attack.
        epsilon: radius of the ball, in [0, 1].
        restarts: independent runs, the worst of which counts.
        seed: of the attack's starts.
    """

    attack: Attack
    epsilon: float
    restarts: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class AttackedFile:
    """What became of an image.

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

    @property
    def file_robust(self) -> bool:
        """Whether the attack failed, with the file as evidence."""
        return self.correct and self.attacked == self.truth


@torch.no_grad()
def attack_files(
    classifier: Classifier,
    images: Tensor,
    truths: list[str | None],
    assault: Assault,
    *,
    index: tuple[int, ...],
    files: list[tuple[Path, Path]],
) -> list[AttackedFile]:
    """Attack a batch, write it, read it back and verify it.

    Args:
        classifier: the model.
        images: clean images [B,3,S,S] in [0,1] with levels of 8 bits.
        truths: names of the true classes, or None for the predicted one.
        assault: how they are attacked.
        index: number of every image, the key of its random draws.
        files: where each clean and each attacked image goes.

    Raises:
        OSError: a file that was read back does not lie within the ball.
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
            assault.attack,
            images,
            labels,
            (assault.epsilon,),
            restarts=assault.restarts,
            random=SampleRandom(assault.seed, index),
        )[0]
        levels = to_eight_bits(point.images, images, assault.epsilon)
        for pixels, paths in zip(zip(images, levels, strict=True), files, strict=True):
            for one, path in zip(pixels, paths, strict=True):
                to_image(one).save(path)
        read = torch.stack([_read(attacked) for _, attacked in files]).to(images)
        clean = torch.stack([_read(path) for path, _ in files]).to(images)
        distances = (read - clean).abs().flatten(1).amax(1).tolist()
        attacked = classifier(read).argmax(1)
    for distance, (_, path) in zip(distances, files, strict=True):
        if distance > assault.epsilon + ROUNDING / LEVELS:
            raise OSError(
                f"{path} is {distance:.5f} away from its image, not {assault.epsilon}; do not use it."
            )
    return [
        AttackedFile(truth=names[t], clean=names[p], attacked=names[a], robust=robust, distance=distance)
        for t, p, a, robust, distance in zip(
            labels.tolist(),
            predicted.tolist(),
            attacked.tolist(),
            point.correct.tolist(),
            distances,
            strict=True,
        )
    ]


def _read(path: Path) -> Tensor:
    with Image.open(path) as image:
        return pil_to_tensor(image).float() / LEVELS


if TYPE_CHECKING:
    pass

INDEX = "attacked.json"
BATCH = 16


def attack(
    model: str,
    images: Path,
    *,
    output: Path = Path("attacked"),
    attack: str = "pgd",
    epsilon: float = 4 / 255,
    options: dict[str, Any] | None = None,
    restarts: int = 1,
    seed: int = 0,
    label: str | None = None,
    predicted: bool = False,
    device: str | None = None,
) -> Answer:
    """Attack images, write what fools the model, and read it back to verify.

    Writes 8-bit PNG files: what the model sees of every image in clean/, and the attacked image, within
    epsilon of it, in adversarial/. Every file is read again: that it lies within the ball is checked, and
    accuracy is that of the files. An image whose attacked version fools the model until it is rounded to 8
    bits is counted as fooled in 'robust' and not in 'robust, files'.

    The true class of an image is the name of its folder, unless --label or --predicted say otherwise.

    example: egat-hub attack org/name photos --epsilon 0.0157 --restarts 3

    Args:
        model: name in 'egat-hub list', folder of a saved model, or organisation/name on the Hub.
        images: an image, or a folder that is searched with its sub-folders, <class>/<image>.
        output: folder of the images and of attacked.json.
        attack: name of the attack: pgd, fgsm, mi_fgsm, auto_attack...
        epsilon: radius of the L-infinity ball, in [0, 1].
        options: fields of the attack, such as '{"steps": 20}'.
        restarts: independent runs, the worst of which counts.
        seed: seed of the attack's starts.
        label: true class of all images.
        predicted: take what the model predicts for the truth.
        device: such as cpu or cuda:1; by default the accelerator that is found.
    """
    import torch

    from egat_hub.attacks import ATTACKS
    from egat_hub.attacks.base import check_epsilon

    pass
    from egat_hub.cli.images import find_images, open_batches, open_model, png_of

    check_epsilon(epsilon)
    if restarts < 1:
        raise ValueError(f"Expected at least 1 restart, got {restarts}.")
    if label is not None and predicted:
        raise ValueError("Expected --label or --predicted, got both; name one truth.")
    chosen = from_dict(ATTACKS[attack], options or {})
    assault = Assault(attack=chosen, epsilon=epsilon, restarts=restarts, seed=seed)
    paths, output = find_images(images, outside=output), output.expanduser()
    classifier = open_model(model, device)
    known = classifier.label_names
    if label is not None and label not in known:
        raise ValueError(f"Expected a --label among {', '.join(known[:20])}, got {label!r}.")
    number = {path: position for position, path in enumerate(paths)}
    problems: list[str] = []
    entries: list[tuple[Path, Path, AttackedFile]] = []
    batches = open_batches(paths, BATCH, problems)
    for batch in tqdm(batches, "Attacking", -(-len(paths) // BATCH), leave=False, disable=None):
        truths = {path: None if predicted else label or path.resolve().parent.name for path, _ in batch}
        lost = [path for path, truth in truths.items() if truth not in (None, *known)]
        problems += [
            f"{path}: its folder {truths[path]!r} is no class of the model, which are "
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
            classifier,
            torch.stack([*ready.values()]),
            [truths[path] for path in ready],
            assault,
            index=tuple(number[path] for path in ready),
            files=files,
        )
        made = (adversarial for _, adversarial in files)
        entries += zip(ready, made, found, strict=True)
    protocol = {"attack": attack, **chosen.protocol(), "epsilon": epsilon, "restarts": restarts, "seed": seed}
    data = {"protocol": protocol, **_accuracy([found for *_, found in entries]), "images": _listed(entries)}
    if entries:
        atomic_write_text(output / INDEX, json.dumps(data, indent=1) + "\n")
    return Answer(text=_text(data, predicted), data=data, problems=tuple(problems))


def _accuracy(found: list[AttackedFile]) -> dict[str, float | int | None]:
    """Accuracies in percent, None without images."""

    def percent(right: list[bool]) -> float | None:
        return 100 * sum(right) / len(right) if right else None

    return {
        "n": len(found),
        "clean_accuracy": percent([one.correct for one in found]),
        "robust_accuracy": percent([one.robust for one in found]),
        "robust_accuracy_of_files": percent([one.file_robust for one in found]),
    }


def _listed(entries: list[tuple[Path, Path, AttackedFile]]) -> list[dict[str, Any]]:
    return [
        {"image": str(path), "adversarial": str(made), **dataclasses.asdict(found)}
        for path, made, found in entries
    ]


def _text(data: dict[str, Any], predicted: bool) -> str:
    if not data["n"]:
        return "No image was attacked."
    lines = [(one["image"], one["truth"], one["clean"], one["attacked"]) for one in data["images"]]
    table = tabulate(lines, ("image", "truth", "clean", "attacked file"), disable_numparse=True)
    protocol = ", ".join(
        f"{key} {value:.4g}" if type(value) is float else f"{key} {value}"
        for key, value in data["protocol"].items()
    )
    truth = "; truth is what the model predicts" if predicted else ""
    return (
        f"{table}\n\n{protocol}; n {data['n']}{truth}\n"
        f"accuracy {data['clean_accuracy']:.1f} %, robust {data['robust_accuracy']:.1f} %, "
        f"robust, files {data['robust_accuracy_of_files']:.1f} %"
    )
