"""Where the positions of a map are in a tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

MAX_PREFIX = 8
"""Most tokens without a place in the image, where the network does not say how many it has."""


@dataclass(frozen=True)
class Layout:
    """How a tensor holds a map.

    Attributes:
        form: maps [B,K,h,w] or [B,h,w,K], or tokens [B,N,K].
        side: rows, which are as many as the columns.
        prefix: tokens that come before those of the map.
    """

    form: Literal["NCHW", "NHWC", "NLC"]
    side: int
    prefix: int = 0

    @classmethod
    def of(cls, tensor: Tensor, prefix: int = 0) -> Layout | None:
        """The layout of a tensor [B,...], None if it is no map of more than one position.

        Args:
            tensor: made of square images.
            prefix: how many tokens without a place the network says that it has.
        """
        if tensor.ndim == 4:
            _, a, b, c = tensor.shape
            if b == c > 1:
                return cls("NCHW", b)
            return cls("NHWC", a) if a == b > 1 else None
        if tensor.ndim == 3:
            count = tensor.shape[1]
            for extra in (prefix, *range(MAX_PREFIX + 1)):
                side = math.isqrt(max(count - extra, 0))
                if side > 1 and side * side == count - extra:
                    return cls("NLC", side, extra)
        return None

    @property
    def channel_dim(self) -> int:
        """Which dimension the channels are."""
        return 1 if self.form == "NCHW" else -1

    def grid(self, tensor: Tensor) -> Tensor:
        """The map [B,K,h,w] in a tensor of this layout."""
        if self.form == "NCHW":
            return tensor
        if self.form == "NHWC":
            return tensor.permute(0, 3, 1, 2)
        return tensor[:, self.prefix :].transpose(1, 2).unflatten(2, (self.side, self.side))
