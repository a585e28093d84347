"""The config of a data set, and the public benchmarks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from egat_hub.core.registry import Registry


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images to use.

    Attributes:
        name: a benchmark (``"vlcs"``, ``"terra_incognita"``, ``"pacs"``), ``"folder"`` for your own images,
            ``"synthetic"`` for generated ones, or the id of a Hub data set (``"org/name"``).
        dir: root folder of a benchmark or ``"folder"``: ``<domain>/<class>/<image>`` or
            ``<class>/<image>``.
        masks_dir: object masks of the images in ``dir``: a folder with ``<domain>/<class>/<stem>.png``
            masks (white on black, any resolution) or ``<stem>.xml`` boxes (Pascal VOC), or a COCO JSON file
            with boxes.
        image_size: height and width of the network input in pixels; by default the size of a saved model, or
            224.
        split_seed: seed of the 60/20/20 split.
        synthetic_size: images to generate per domain.
        synthetic_seed: seed of the generated images.
    """

    name: str = "synthetic"
    dir: str | None = None
    masks_dir: str | None = None
    image_size: int | None = None
    split_seed: int = 0
    synthetic_size: int = 1000
    synthetic_seed: int = 0


@dataclasses.dataclass(frozen=True)
class DataChanges:
    """Settings that replace those of the model's training data unless they are None.

    Attributes:
        name: a benchmark, ``"folder"``, ``"synthetic"``, or the id of a Hub data set.
        dir: root folder; it means ``"folder"`` where the model was trained on generated images.
        masks_dir: object masks of the images.
        split_seed: seed of the 60/20/20 split.
        synthetic_size: images to generate per domain.
        synthetic_seed: seed of the generated images.
    """

    name: str | None = None
    dir: str | None = None
    masks_dir: str | None = None
    split_seed: int | None = None
    synthetic_size: int | None = None
    synthetic_seed: int | None = None

    def applied_to(self, config: DataConfig) -> DataConfig:
        """A config with these changes; for another data set, the other settings take their defaults."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        if self.dir is not None and config.name in ("", "synthetic"):
            given = {"name": "folder", **given}
        elif not config.name:
            given = {"name": "synthetic", **given}
        base = config if given.get("name", config.name) == config.name else DataConfig()
        return dataclasses.replace(base, **given)


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Classes and domains of a published data set, which a folder is checked against.

    Attributes:
        name: name in the registry.
        classes: class names in label order.
        domains: domain names, as in DomainBed's folders.
        aliases: alternative names of domains and classes, mapped to the names above. Case, spaces,
            underscores and hyphens are ignored and need no alias.
        citation: the paper to cite.
    """

    name: str
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    citation: str
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)


BENCHMARKS: Registry[Benchmark] = Registry("benchmarks")


def _spellings(**aliases: str) -> dict[str, str]:
    return {alias: name for name, given in aliases.items() for alias in given.split(", ")}


VLCS = Benchmark(
    name="vlcs",
    classes=("bird", "car", "chair", "dog", "person"),
    domains=("Caltech101", "LabelMe", "SUN09", "VOC2007"),
    aliases=_spellings(
        Caltech101="C, Caltech", LabelMe="L", SUN09="S, SUN", VOC2007="V, VOC, Pascal, Pascal VOC"
    ),
    citation="Fang, Xu and Rockmore: Unbiased Metric Learning. ICCV 2013.",
)
TERRA_INCOGNITA = Benchmark(
    name="terra_incognita",
    classes=("bird", "bobcat", "cat", "coyote", "dog", "empty", "opossum", "rabbit", "raccoon", "squirrel"),
    domains=("location_38", "location_43", "location_46", "location_100"),
    aliases=_spellings(
        **{f"location_{n}": f"{n}, L{n}, loc{n}" for n in (38, 43, 46, 100)}, raccoon="racoon"
    ),
    citation="Beery, Van Horn and Perona: Recognition in Terra Incognita. ECCV 2018.",
)
PACS = Benchmark(
    name="pacs",
    classes=("dog", "elephant", "giraffe", "guitar", "horse", "house", "person"),
    domains=("art_painting", "cartoon", "photo", "sketch"),
    aliases=_spellings(photo="P", art_painting="A, art, painting", cartoon="C", sketch="S"),
    citation="Li et al.: Deeper, Broader and Artier Domain Generalization. ICCV 2017.",
)

for _benchmark in (VLCS, TERRA_INCOGNITA, PACS):
    BENCHMARKS.register(_benchmark.name)(_benchmark)
