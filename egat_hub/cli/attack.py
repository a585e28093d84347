"""``egat-hub attack``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate
from tqdm.auto import tqdm

from egat_hub.cli.main import Answer
from egat_hub.core.files import atomic_write_text

if TYPE_CHECKING:
    from egat_hub.cli.attacked_files import AttackedFile

INDEX = "attacked.json"
BATCH = 16


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
    import torch

    from egat_hub.attacks import ATTACKS
    from egat_hub.attacks.base import check_epsilon
    from egat_hub.cli.attacked_files import AttackSettings, attack_files
    from egat_hub.cli.images import find_images, open_batches, open_model, png_of, warn_of_generated
    from egat_hub.core.config import from_dict

    check_epsilon(epsilon)
    if restarts < 1:
        raise ValueError(f"Expected at least 1 restart, got {restarts}.")
    if label is not None and predicted:
        raise ValueError("Expected --label or --predicted, got both; name one truth.")
    chosen = from_dict(ATTACKS[attack], options or {})
    settings = AttackSettings(attack=chosen, epsilon=epsilon, restarts=restarts, seed=seed)
    output = output.expanduser()
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"Expected a folder for the output, but {output} is a file.")
    paths = find_images(images, outside=output)
    classifier = open_model(model, device)
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
            classifier,
            torch.stack([*ready.values()]),
            [truths[path] for path in ready],
            settings,
            index=tuple(number[path] for path in ready),
            files=files,
        )
        made = (adversarial for _, adversarial in files)
        entries += zip(ready, made, found, strict=True)
    protocol = {"attack": attack, **chosen.protocol(), "epsilon": epsilon, "restarts": restarts, "seed": seed}
    data = {"protocol": protocol, **_accuracy([found for *_, found in entries]), "images": _listed(entries)}
    if entries:
        atomic_write_text(output / INDEX, json.dumps(data, indent=1) + "\n")
    text = f"{_text(data, predicted)}\n\nWrote clean/, adversarial/ and {INDEX} to {output}"
    return Answer(text=text if entries else "No image was attacked.", data=data, problems=tuple(problems))


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
