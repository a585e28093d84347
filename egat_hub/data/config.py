"""Which data set, from where, at which size."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Everything that defines the images of a run.

    Attributes:
        name: a benchmark (``"vlcs"``, ``"terra_incognita"``, ``"pacs"``), ``"folder"`` for any
            ``<domain>/<class>/*`` tree, ``"synthetic"``, or the id of a Hub data set (``"org/name"``).
        data_dir: root folder of a benchmark or ``"folder"``, ``<domain>/<class>/<image>``, or
            ``<class>/<image>``.
        masks_dir: object masks of the images in ``data_dir``: a folder of ``<domain>/<class>/<stem>.png``
            (white on black, of any resolution), or of ``<stem>.xml`` with boxes (Pascal VOC), or a COCO JSON
            file with boxes.
        image_size: height and width of the network input in pixels.
        split_seed: seed of the 60/20/20 split.
        synthetic_size: images to generate per domain.
        synthetic_seed: seed of the generated images.
    """

    name: str = "synthetic"
    data_dir: str | None = None
    masks_dir: str | None = None
    image_size: int = 224
    split_seed: int = 0
    synthetic_size: int = 1000
    synthetic_seed: int = 0
