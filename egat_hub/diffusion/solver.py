"""The multistep SDE solver of DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095), order 2."""

from __future__ import annotations

import math

from torch import Tensor

from egat_hub.diffusion.levels import NoiseLevels


def solver_step(
    levels: NoiseLevels, level: int, latents: Tensor, data: Tensor, before: Tensor | None
) -> tuple[Tensor, float]:
    """Mean and standard deviation of the latents at level ``level + 1``, given those at ``level``.

    With h the gain in log-SNR, ``share = 1 - exp(-2h)`` and the noisier level s, the cleaner level t::

        mean      = sigma_t / sigma_s exp(-h) x + alpha_t share (m + (m - m_before) h / (2 h_before))
        deviation = sigma_t sqrt(share)

    This is the midpoint form; the first step has no ``m_before`` and is of order 1.

    Args:
        levels: all noise levels.
        level: the one that ``latents`` are at, from 0.
        latents: x, of any shape.
        data: m, the clean latents as predicted at this level.
        before: those predicted at the level before, or None at the first.
    """
    gain = levels.log_snr(level + 1) - levels.log_snr(level)
    share = -math.expm1(-2 * gain)
    if before is not None:
        gain_before = levels.log_snr(level) - levels.log_snr(level - 1)
        data = data + (data - before) * (gain / (2 * gain_before))
    keep = levels.sigma[level + 1] / levels.sigma[level] * math.exp(-gain)
    mean = keep * latents + levels.alpha[level + 1] * share * data
    return mean, levels.sigma[level + 1] * math.sqrt(share)
