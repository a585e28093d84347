"""Elastic warping."""

from __future__ import annotations

import torch
from torch import Tensor

from egat_hub.corruptions.base import CORRUPTIONS, graded
from egat_hub.corruptions.canvas import REFERENCE, canvas, fit, positions, sample, scale
from egat_hub.corruptions.smoothing import smooth
from egat_hub.randomness import SampleRandom

SIDE = 244
"""The unit of the published lengths, which was meant to be 224."""
CORNERS = ((1.0, 1.0), (1.0, -1.0), (-1.0, -1.0))
"""Points (y, x) around the middle by which the affine map is drawn."""


@CORRUPTIONS.register("elastic_transform")
@graded(
    (2 * SIDE, 0.7 * SIDE, 0.1 * SIDE),
    (2 * SIDE, 0.08 * SIDE, 0.2 * SIDE),
    (0.05 * SIDE, 0.01 * SIDE, 0.02 * SIDE),
    (0.07 * SIDE, 0.01 * SIDE, 0.02 * SIDE),
    (0.12 * SIDE, 0.01 * SIDE, 0.02 * SIDE),
)
def elastic_transform(
    images: Tensor, random: SampleRandom, amplitude: float, sigma: float, reach: float
) -> Tensor:
    """A random affine map, and smooth random displacements on top.

    As published, severities 1 and 2 are strong affine maps with slow displacements, and 3 to 5 fast
    displacements that ripple: severity 3 moves less than 2, but breaks lines that 2 leaves straight. The map
    is drawn from the new image to the old one, so that it needs no inverse.

    Args:
        images: clean images [B,3,H,W].
        random: keyed random numbers.
        amplitude: by which smoothed uniform noise is multiplied to give displacements.
        sigma: standard deviation of the smoothing.
        reach: farthest shift along each axis of the three points that define the affine map.
    """
    noise = canvas(images).expand(-1, 2, -1, -1)
    shift = amplitude * smooth(random.uniform(noise, -1, 1, "elastic_transform"), sigma, reach=3)
    shift = scale(images) * fit(shift, images)
    rows, columns = positions(images)
    rows, columns = rows + shift[:, 0] - rows.mean(), columns + shift[:, 1] - columns.mean()
    corners = torch.tensor(CORNERS, device=images.device) * (REFERENCE // 3)
    moves = random.uniform(corners.expand(len(images), 3, 2), -reach, reach, "elastic_transform affine")
    homogeneous = torch.cat([corners, torch.ones_like(corners[:, :1])], dim=1)
    affine = torch.linalg.solve(homogeneous, corners + moves)  # [B,3,2], (y, x, 1) to (y, x)
    ones = torch.full_like(rows, scale(images))
    y, x = torch.einsum("bhwi,bij->jbhw", torch.stack([rows, columns, ones], dim=-1), affine)
    middle_row, middle_column = ((side - 1) / 2 for side in images.shape[-2:])
    return sample(images, y + middle_row, x + middle_column, edge="reflection")
