"""Where a network can be cut: the last module whose output is a map that all logits come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from egat_hub.models.modes import frozen
from egat_hub.models.taps import Act, Cut, Layout, Shape, replace, tensors


@dataclass(eq=False)
class Call:
    """One call of a module.

    Attributes:
        module: dotted name.
        number: how many calls of the same module there were before.
        within: calls that were under way, from the outermost.
        output: what it returned.
    """

    module: str
    number: int
    within: tuple[Call, ...]
    output: Any = field(default=None, repr=False)


def trace(net: Any, images: Tensor) -> tuple[Any, list[Call], list[Call]]:
    """Run ``forward_features`` and note every call of a module inside.

    Args:
        net: a timm network.
        images: [B,3,H,W], normalised.

    Returns:
        What it returns, the calls in the order in which they began, and in that in which they ended.
    """
    began: list[Call] = []
    ended: list[Call] = []
    open_calls: list[Call] = []
    counts: dict[str, int] = {}
    with ExitStack() as stack:

        def listen(name: str, module: nn.Module) -> None:
            def enter(*_: Any) -> None:
                call = Call(name, counts.get(name, 0), tuple(open_calls))
                counts[name] = call.number + 1
                began.append(call)
                open_calls.append(call)

            def leave(_module: nn.Module, _args: Any, output: Any) -> None:
                call = open_calls.pop()
                call.output = output
                ended.append(call)

            stack.callback(module.register_forward_pre_hook(enter).remove)
            stack.callback(module.register_forward_hook(leave).remove)

        for name, module in net.named_modules():
            if name:
                listen(name, module)
        features = net.forward_features(images)
    return features, began, ended


ROUNDING = 100
"""Largest difference that counts as rounding, in units of the precision of the largest value."""

DENSE = 0.5
"""Share of the positions on which logits must depend; class tokens depend on all, a maximum on few."""


class NoCutError(ValueError):
    """There is no place in a network where it can be cut."""


def find_cut(net: Any, images: Tensor) -> Cut:
    """Where a network is cut so that a map comes before and logits after, as late as can be.

    A module will do if its output holds a map of more than one position, if no other way leads from the
    images to the logits, which the graph of autograd tells, if most positions of the map decide something,
    and if both parts together compute the network's logits. Of several maps in one output the coarsest is
    taken, which is the deepest. Cost: some five forwards; the activations of one are kept meanwhile.

    Args:
        net: a timm network in eval mode, whose classifier is not zero.
        images: three or more [B,3,S,S], normalised.

    Raises:
        NoCutError: with the reason.
    """
    few, many = images[:-1], images
    leaf = few.detach().requires_grad_()
    with torch.enable_grad(), frozen(net):
        features, began, ended = trace(net, leaf.clone())
        logits = net.forward_head(features)
    with torch.no_grad():
        expected = net.forward_head(net.forward_features(many))
        _, again, _ = trace(net, many)
    if [call.module for call in began] != [call.module for call in again]:
        raise NoCutError("it does not call the same modules every time")
    if not logits.requires_grad:
        raise NoCutError("its logits do not depend on the images in a differentiable way")
    partner = dict(zip(began, again, strict=True))
    prefix = getattr(net, "num_prefix_tokens", 0)
    for call in reversed(ended):
        found = tensors(call.output)
        maps = {i: Layout.of(one, prefix) for i, one in enumerate(found) if len(one) == len(few)}
        layouts = {place: layout for place, layout in maps.items() if layout is not None}
        if not layouts or any(one.grad_fn is None for one in found) or _leaks(logits, found):
            continue
        place = next(iter(layouts))
        try:
            cut = Cut(
                module=call.module,
                number=call.number,
                size=(images.shape[-2], images.shape[-1]),
                output=_shapes(call, partner, len(few), len(many)),
                place=place,
                layout=layouts[place],
                acts=_acts(call, began, partner, (len(few), len(many))),
            )
            logits_again, slope = _second_part(net, cut, many)
        except Exception:  # what zeros in place of values lead to depends on the network
            continue
        rounding = ROUNDING * torch.finfo(expected.dtype).eps * expected.abs().max()
        if logits_again.shape != expected.shape or not (logits_again - expected).abs().max() <= rounding:
            continue
        slopes = cut.parts(slope)
        deciding = [
            (layout.side, place)
            for place, layout in layouts.items()
            if layout.grid(slopes[place]).ne(0).any(1).float().mean() > DENSE
        ]
        if deciding:
            _, place = min(deciding)
            return dataclasses.replace(cut, place=place, layout=layouts[place])
    raise NoCutError("no module inside gives a map that all of the logits come from")


def _second_part(net: Any, cut: Cut, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of both parts together, and the derivative of one of them by the features."""
    with torch.no_grad():
        features = cut.before(net, images)
    with torch.enable_grad(), frozen(net):
        leaf = features.detach().requires_grad_()
        logits = net.forward_head(cut.after(net, leaf))
        (slope,) = torch.autograd.grad(logits[:, 0].sum(), leaf)
    return logits.detach(), slope


def _leaks(logits: Tensor, blocked: Iterable[Tensor]) -> bool:
    """Whether the images reach the logits on another way than through the blocked tensors.

    Parameters are constants, so that every leaf of the graph is the images.
    """
    seen = {one.grad_fn for one in blocked}
    waiting = [logits.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if not node.next_functions:
            return True
        waiting.extend(function for function, _ in node.next_functions)
    return False


def _shapes(call: Call, partner: dict[Call, Call], few: int, many: int) -> Any:
    others = iter(tensors(partner[call].output))
    return replace(call.output, Tensor, lambda one: Shape.of(one, next(others), (few, many)))


def _acts(
    at: Call, began: list[Call], partner: dict[Call, Call], images: tuple[int, int]
) -> dict[str, tuple[Any, ...]]:
    """What every call up to the cut does in the second part, in order, by module."""
    acts: dict[str, list[Any]] = {}
    skipped: set[Call] = set()
    for call in began[: began.index(at)]:
        if skipped.intersection(call.within):
            continue
        depends = any(one.grad_fn is not None for one in tensors(call.output))
        if depends and call not in at.within:
            skipped.add(call)
            acts.setdefault(call.module, []).append(_shapes(call, partner, *images))
        else:
            acts.setdefault(call.module, []).append(Act.RUN)
    acts.setdefault(at.module, []).append(Act.GIVE)
    return {name: tuple(queue) for name, queue in acts.items() if any(act is not Act.RUN for act in queue)}
