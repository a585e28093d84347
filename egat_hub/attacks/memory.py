"""Perturbations of training images that outlast an epoch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from egat_hub.core.distributed import all_gather

UNSEEN = -128
LARGEST = 127


class Memory(nn.Module):
    """Signed 8-bit perturbations by the number of the image, in shares of epsilon.

    Augmentation shows another part of an image every time. A perturbation is therefore kept in the frame of
    the whole image, on a canvas of the size of the network's images, and what a crop shows of it is cut out,
    resized and flipped as the image itself, by the nearest pixel. A crop renews what it covers; the rest
    stays.

    It is part of ``state_dict`` (and so of checkpoints), equal in all processes, and lies in the main memory:
    3 H W bytes for every number up to the largest one seen.
    """

    levels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.levels = torch.empty(0, 0, 0, 0, dtype=torch.int8)

    def recall(self, index: tuple[int, ...], frames: Tensor | None, like: Tensor) -> Tensor:
        """Perturbations [B,3,H,W] in [-1, 1] of images of the shape of ``like``, NaN where there are none.

        Args:
            index: numbers of the images.
            frames: ``top, left, height, width`` of the part of the image that is shown, in shares of its
                sides, and 1 where it is flipped from left to right [B,5]; None for whole images.
            like: tells shape, dtype and device.

        Raises:
            ValueError: images of another size than those that are kept.
        """
        self._grow(index, like)
        levels = self.levels[torch.tensor(index)]
        if frames is not None:
            levels = torch.stack(
                [_cut_out(canvas, frame) for canvas, frame in zip(levels, frames.cpu(), strict=True)]
            )
        shares = levels.to(like.device, like.dtype) / LARGEST
        return torch.where(levels.to(like.device) == UNSEEN, torch.nan, shares)

    def keep(self, index: tuple[int, ...], frames: Tensor | None, shares: Tensor) -> None:
        """Keep perturbations [B,3,H,W] in [-1, 1]; every process calls this and keeps those of all.

        Args:
            index: numbers of the images.
            frames: as for :meth:`recall`.
            shares: perturbations in shares of epsilon.
        """
        device = shares.device
        numbers = all_gather(torch.tensor(index, device=device)).tolist()
        levels = all_gather((shares.clamp(-1, 1) * LARGEST).round().to(torch.int8)).cpu()
        shown = None if frames is None else all_gather(frames.to(device)).cpu()
        self._grow(tuple(numbers), levels)
        for row, number in enumerate(numbers):
            canvas, part = self.levels[number], levels[row]
            canvas.copy_(part if shown is None else _put_back(canvas, part, shown[row]))

    def get_extra_state(self) -> Tensor:
        """What is kept; not a buffer, which would be sent to all processes in every step."""
        return self.levels

    def set_extra_state(self, state: Tensor) -> None:
        """Take what :meth:`get_extra_state` gave."""
        self.levels = state.cpu().clone()

    def _grow(self, index: tuple[int, ...], like: Tensor) -> None:
        shape = tuple(like.shape[1:])
        if len(self.levels) and tuple(self.levels.shape[1:]) != shape:
            raise ValueError(
                f"Expected images of the size of those whose perturbations are kept, "
                f"{tuple(self.levels.shape[1:])}, got {shape}."
            )
        missing = max(index) + 1 - len(self.levels)
        if missing > 0:
            fresh = torch.full((missing, *shape), UNSEEN, dtype=torch.int8)
            self.levels = torch.cat([self.levels.view(-1, *shape), fresh])


def _cut_out(canvas: Tensor, frame: Tensor) -> Tensor:
    """What a crop shows of the canvas, both [C,H,W]."""
    top, left, height, width, flipped = frame.tolist()
    down, across = (_middles(side) for side in canvas.shape[1:])
    across = 1 - across if flipped else across
    rows, columns = (
        ((begin + length * middles) * side).long().clamp(0, side - 1)
        for begin, length, middles, side in zip(
            (top, left), (height, width), (down, across), canvas.shape[1:], strict=True
        )
    )
    return canvas[:, rows][:, :, columns]


def _put_back(canvas: Tensor, part: Tensor, frame: Tensor) -> Tensor:
    """The canvas with what a crop shows of it renewed, all [C,H,W]."""
    top, left, height, width, flipped = frame.tolist()
    down, across = (
        (_middles(side) - begin) / length
        for begin, length, side in zip((top, left), (height, width), canvas.shape[1:], strict=True)
    )
    covered = ((down >= 0) & (down < 1))[:, None] & (across >= 0) & (across < 1)
    across = 1 - across if flipped else across
    rows, columns = (
        (middles * side).long().clamp(0, side - 1)
        for middles, side in zip((down, across), canvas.shape[1:], strict=True)
    )
    return torch.where(covered, part[:, rows][:, :, columns], canvas)


def _middles(side: int) -> Tensor:
    """Places of the middles of ``side`` pixels, in shares of their side."""
    return (torch.arange(side) + 0.5) / side
