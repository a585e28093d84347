"""Perturbations of training images, stored from epoch to epoch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from egat_hub.core.distributed import all_gather

UNSEEN = -128
LARGEST = 127


class PerturbationMemory(nn.Module):
    """Perturbations by the number of the image, in 8 bits, relative to epsilon.

    Augmentation shows another crop of an image each time. A perturbation is therefore stored in the frame of
    the whole image, on a canvas of the size of the network's images. The part that a crop shows is cut out,
    resized and flipped as the image itself is, to the nearest pixel. A crop updates what it covers and leaves
    the rest.

    It is part of ``state_dict`` (and so of checkpoints), equal in all processes, and lies in main memory:
    3 H W bytes for every number up to the largest one seen.

    Attributes:
        frames: the crops that the images of the next calls show [B,5]: ``top, left, height, width`` relative
            to the image's sides, and 1 where it is flipped horizontally; None for whole images.
    """

    levels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.levels = torch.empty(0, 0, 0, 0, dtype=torch.int8)
        self.frames: Tensor | None = None

    def recall(self, index: tuple[int, ...], like: Tensor) -> Tensor:
        """Perturbations [B,3,H,W] in [-1, 1] with shape, dtype and device of ``like``; NaN where unseen."""
        self._grow(index, like)
        levels = self.levels[torch.tensor(index)]
        if self.frames is not None:
            levels = torch.stack(
                [_cut_out(canvas, frame) for canvas, frame in zip(levels, self.frames.cpu(), strict=True)]
            )
        perturbations = levels.to(like.device, like.dtype) / LARGEST
        return torch.where(levels.to(like.device) == UNSEEN, torch.nan, perturbations)

    def keep(self, index: tuple[int, ...], perturbations: Tensor) -> None:
        """Store perturbations [B,3,H,W] in [-1, 1]; every process calls this and stores those of all."""
        device = perturbations.device
        numbers = all_gather(torch.tensor(index, device=device)).tolist()
        levels = all_gather((perturbations.clamp(-1, 1) * LARGEST).round().to(torch.int8)).cpu()
        frames = None if self.frames is None else all_gather(self.frames.to(device)).cpu()
        self._grow(tuple(numbers), levels)
        for row, number in enumerate(numbers):
            canvas, part = self.levels[number], levels[row]
            canvas.copy_(part if frames is None else _put_back(canvas, part, frames[row]))

    def get_extra_state(self) -> Tensor:
        """The canvases; not a buffer, which would be broadcast in every step."""
        return self.levels

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self.levels = state.cpu().clone()

    def _grow(self, index: tuple[int, ...], like: Tensor) -> None:
        shape = tuple(like.shape[1:])
        if len(self.levels) and tuple(self.levels.shape[1:]) != shape:
            raise ValueError(
                f"Expected images of the size of the stored perturbations, {tuple(self.levels.shape[1:])}, "
                f"got {shape}."
            )
        missing = max(index) + 1 - len(self.levels)
        if missing > 0:
            fresh = torch.full((missing, *shape), UNSEEN, dtype=torch.int8)
            self.levels = torch.cat([self.levels.view(-1, *shape), fresh])


def _cut_out(canvas: Tensor, frame: Tensor) -> Tensor:
    """The part of the canvas that a crop shows, both [C,H,W]."""
    top, left, height, width, flipped = frame.tolist()
    down, across = (_centres(side) for side in canvas.shape[1:])
    across = 1 - across if flipped else across
    rows, columns = (
        ((begin + length * centres) * side).long().clamp(0, side - 1)
        for begin, length, centres, side in zip(
            (top, left), (height, width), (down, across), canvas.shape[1:], strict=True
        )
    )
    return canvas[:, rows][:, :, columns]


def _put_back(canvas: Tensor, part: Tensor, frame: Tensor) -> Tensor:
    """The canvas, updated where the crop shows it, all [C,H,W]."""
    top, left, height, width, flipped = frame.tolist()
    down, across = (
        (_centres(side) - begin) / length
        for begin, length, side in zip((top, left), (height, width), canvas.shape[1:], strict=True)
    )
    covered = ((down >= 0) & (down < 1))[:, None] & (across >= 0) & (across < 1)
    across = 1 - across if flipped else across
    rows, columns = (
        (centres * side).long().clamp(0, side - 1)
        for centres, side in zip((down, across), canvas.shape[1:], strict=True)
    )
    return torch.where(covered, part[:, rows][:, :, columns], canvas)


def _centres(side: int) -> Tensor:
    """Centres of ``side`` pixels, relative to the side."""
    return (torch.arange(side) + 0.5) / side
