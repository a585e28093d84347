"""What an attack without a bound on pixels found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor


class Unrestricted(NamedTuple):
    """Adversarial images, and how far they went in the latent that was bounded and in pixels that were not.

    Attributes:
        images: [B,3,H,W] in [0,1], decoded from the best perturbation of each sample.
        success: [B], whether a fresh forward on ``images`` misclassifies the sample.
        reconstruction: [B], whether the unperturbed latent, decoded, was misclassified already; such a
            sample has a perturbation of 0.
        perturbation: of the noisiest latent [B,c,h,w].
        latent_distance: L-infinity norm of the perturbation [B], at most the budget.
        pixel_linf: L-infinity distance of ``images`` to the clean images [B], not bounded.
        pixel_l2: Euclidean distance of ``images`` to the clean images [B], not bounded.
        protocol: settings as result rows note them, with ``budget_space: "latent"`` and the budget as
            ``latent_epsilon``: it is no radius in pixels, and no figure may put it on an axis of those.
    """

    images: Tensor
    success: Tensor
    reconstruction: Tensor
    perturbation: Tensor
    latent_distance: Tensor
    pixel_linf: Tensor
    pixel_l2: Tensor
    protocol: Mapping[str, Any]
