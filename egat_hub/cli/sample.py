"""``egat-hub sample``."""

from __future__ import annotations

from pathlib import Path

from egat_hub.cli.main import Answer
from egat_hub.data import DataConfig


def sample(
    output: Path,
    *,
    data: DataConfig = DataConfig(),
    domain: str | None = None,
    images: int = 10,
    seed: int = 0,
) -> Answer:
    """Write test images of a data set to a folder, to try commands on.

    Writes <class>/<number>.png; without --data, generated images such as 'synthetic-tiny' was trained on.

    example: egat-hub sample photos --domain meadow

    Args:
        output: folder to write.
        data: the data set.
        domain: domain of the images; by default the first one.
        images: number of images.
        seed: seed of their choice.
    """
    from egat_hub.data import EvaluationView, open_dataset

    if images < 1:
        raise ValueError(f"Expected --images of at least 1, got {images}.")
    dataset = open_dataset(data, [domain] if domain else None, verify=False)
    chosen = dataset[dataset.domains[0]]
    indices = EvaluationView(chosen, "test", image_size=1).drawn(images, seed=seed).indices.tolist()
    paths = [
        output.expanduser() / chosen.classes[chosen.labels[index]] / f"{index:06}.png" for index in indices
    ]
    for index, path in zip(indices, paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        chosen.load(index)[0].save(path)
    text = f"Wrote {len(paths)} test images of {chosen.dataset}/{chosen.name} to {output}"
    if chosen.dataset == "synthetic":
        text += f"\nNext: egat-hub explain synthetic-tiny {output}"
    return Answer(text=text, data={"images": [str(path) for path in paths]})
