"""Attack images, write them as files, and verify the files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from egat_hub.attacks import Attack, attack_curve, to_eight_bits
from egat_hub.attacks.curve import ROUNDING
from egat_hub.core.randomness import SampleRandom
from egat_hub.data.images import to_image
from egat_hub.hub.classifier import Classifier
from egat_hub.models.train_mode import evaluating

LEVELS = 255


@dataclass(frozen=True, kw_only=True)
class AttackSettings:
    """An attack and everything else that decides what it finds.

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

    @property
    def file_robust(self) -> bool:
        """Whether the attack failed, with the file as evidence."""
        return self.correct and self.attacked == self.truth


@torch.no_grad()
def attack_files(
    classifier: Classifier,
    images: Tensor,
    truths: list[str | None],
    settings: AttackSettings,
    *,
    index: tuple[int, ...],
    files: list[tuple[Path, Path]],
) -> list[AttackedFile]:
    """Attack a batch, write it, read it back and verify it.

    Args:
        classifier: the model.
        images: clean images [B,3,S,S] in [0,1] with levels of 8 bits.
        truths: names of the true classes, or None for the predicted one.
        settings: the attack.
        index: number of every image, the key of its random draws.
        files: paths for each clean and each attacked image.

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
            settings.attack,
            images,
            labels,
            (settings.epsilon,),
            restarts=settings.restarts,
            random=SampleRandom(settings.seed, index),
        )[0]
        levels = to_eight_bits(point.images, images, settings.epsilon)
        for pixels, paths in zip(zip(images, levels, strict=True), files, strict=True):
            for one, path in zip(pixels, paths, strict=True):
                to_image(one).save(path)
        read = torch.stack([_read(attacked) for _, attacked in files]).to(images)
        clean = torch.stack([_read(path) for path, _ in files]).to(images)
        distances = (read - clean).abs().flatten(1).amax(1).tolist()
        attacked = classifier(read).argmax(1)
    for distance, (_, path) in zip(distances, files, strict=True):
        if distance > settings.epsilon + ROUNDING / LEVELS:
            raise OSError(
                f"{path} is {distance:.5f} away from its image, not {settings.epsilon}; do not use it."
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
