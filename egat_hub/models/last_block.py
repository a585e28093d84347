"""A timm transformer in two parts: up to its last block, and from there on.

Where logits come from a class token, the patches of the last layer decide nothing. Those before the last
block do: it is the last one to tell the class token of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

ROUNDING = 100
"""Largest difference that counts as rounding, in units of the precision of the largest value."""


def tokens_before(net: Any, images: Tensor) -> Tensor:
    """Tokens [B,N,K] that enter the last block, those without a place in the image first.

    Args:
        net: a network that :func:`obstacle` has nothing against.
        images: [B,3,H,W], normalised.
    """
    ((patches, prefix),) = net.forward_intermediates(
        images,
        indices=[len(net.blocks) - 2],
        return_prefix_tokens=True,
        norm=False,
        stop_early=True,
        output_fmt="NLC",
        intermediates_only=True,
    )
    return torch.cat([prefix, patches], dim=1)


def features_after(net: Any, tokens: Tensor, grid: Callable[[int], tuple[int, int]]) -> Tensor:
    """What ``forward_features`` makes of the tokens: the last block and the norm.

    Args:
        net: as for :func:`tokens_before`.
        tokens: [B,N,K].
        grid: number of patches to rows and columns, asked where positions are rotary.
    """
    given = {}
    if getattr(net, "rope", None) is not None:
        rope = net.rope.get_embed(shape=grid(tokens.shape[1] - net.num_prefix_tokens))
        given["rope"] = rope[-1] if getattr(net, "rope_mixed", False) else rope
    return net.norm(net.blocks[-1](tokens, **given))


@torch.no_grad()
def obstacle(net: nn.Module, images: Tensor, grid: Callable[[int], tuple[int, int]]) -> str | None:
    """Why a network cannot be cut before its last block, or None if it can.

    It can if both parts together are ``forward_features``, to rounding, and if the block is given nothing
    that the second part does not know of.

    Args:
        net: a timm network in eval mode.
        images: [B,3,H,W], normalised.
        grid: as for :func:`features_after`.
    """
    blocks = getattr(net, "blocks", None)
    if not isinstance(blocks, (nn.Sequential, nn.ModuleList)) or len(blocks) < 2:
        return "it is not a row of two or more blocks"
    given: set[str] = set()

    def note(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given.update(f"argument {number}" for number in range(2, len(args) + 1))
        given.update(name for name, value in kwargs.items() if value is not None and value is not False)

    with blocks[-1].register_forward_pre_hook(note, with_kwargs=True):
        expected = net.forward_features(images)  # type: ignore[operator]
    if given - {"rope"}:
        return f"its last block is given more than tokens ({', '.join(sorted(given - {'rope'}))})"
    try:
        found = features_after(net, tokens_before(net, images), grid)
    except Exception as error:  # what a network built in another way raises depends on it
        return str(error)
    rounding = ROUNDING * torch.finfo(expected.dtype).eps * expected.abs().max()
    same = found.shape == expected.shape and bool((found - expected).abs().max() <= rounding)
    return None if same else "its last block and norm do not give its features"
