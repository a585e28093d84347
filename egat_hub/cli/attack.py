"""``egat-hub attack``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate
from tqdm.auto import tqdm

from egat_hub.cli.answer import Answer
from egat_hub.config import from_dict
from egat_hub.whole_file import write_whole

if TYPE_CHECKING:
    from egat_hub.cli.adversarial_files import AttackedFile

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
    from egat_hub.cli.adversarial_files import Assault, attack_files
    from egat_hub.cli.image_files import find_images, open_batches, png_of
    from egat_hub.cli.model import open_model

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
        write_whole(output / INDEX, json.dumps(data, indent=1) + "\n")
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
