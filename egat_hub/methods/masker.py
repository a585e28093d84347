"""The small network with which ALIGN draws a mask on an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Masker(nn.Module):
    """Images [B,3,H,W] in [0,1] to masks [B,1,H,W] in (0,1), 1 where an image is to be kept.

    Five convolutions, two of them with stride 2, and two bilinear steps back: 46 thousand parameters. Its
    normalisation knows no batches, so it behaves alike in training and evaluation and on any number of
    processes. It begins with masks around 0.73. ALIGN calls its own only "a lightweight convolutional
    network"; all of this is an assumption.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(_block(3, 16), _block(16, 32, stride=2), _block(32, 64, stride=2))
        self.decoder = _block(64, 32)
        self.last = nn.Conv2d(32, 1, 3, padding=1)
        nn.init.ones_(self.last.get_parameter("bias"))

    def forward(self, images: Tensor) -> Tensor:
        features = self.encoder(2 * images - 1)
        height, width = images.shape[2:]
        half = F.interpolate(features, ((height + 1) // 2, (width + 1) // 2), mode="bilinear")
        whole = F.interpolate(self.last(self.decoder(half)), (height, width), mode="bilinear")
        return torch.sigmoid(whole)


def _block(channels_in: int, channels_out: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(4, channels_out),
        nn.ReLU(),
    )
