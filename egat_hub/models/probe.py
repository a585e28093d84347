"""Where features are taken, and how the logits depend on them, found by a numerical probe."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from egat_hub.models.taps import Action, FeatureTap, Layout, Shape, probe_copy, tensors

HeadForm = Literal["pooled_linear", "differentiable", "independent"]

TOLERANCE = 1e-4
"""Largest relative difference of the gradients of a pooled linear head from their closed form."""


class NoMapError(ValueError):
    """Features are no spatial map."""


@dataclass(frozen=True)
class Probe:
    """Where the features of a network come from, and how its logits depend on them.

    Attributes:
        head_form: how the logits depend on the features.
        tap: the module inside whose output the features are; by default those of ``forward_features``.
        obstacle: why no map inside decides the logits, where they are independent of the last one.
        splits: whether the head on the features gives the network's logits.
    """

    head_form: HeadForm
    tap: FeatureTap | None = None
    obstacle: str | None = None
    splits: bool = True

    @classmethod
    @torch.inference_mode(False)
    def of(cls, net: nn.Module, images: Tensor) -> Probe:
        """Probe a copy of a timm classifier on three normalized images, whose values matter little."""
        with torch.autocast(images.device.type, enabled=False):
            return _probed(probe_copy(net), images.clone())


def features_of(net: Any, tap: FeatureTap | None, images: Tensor) -> Tensor:
    """The features [B,...] of normalized images [B,3,H,W]."""
    return net.forward_features(images) if tap is None else tap.features(net, images)


def head_of(net: Any, tap: FeatureTap | None, features: Tensor) -> Tensor:
    """The logits [B,C] that follow from features."""
    return net.forward_head(features if tap is None else tap.head(net, features))


def grid_of(net: Any, tap: FeatureTap | None, features: Tensor) -> Tensor:
    """Features in any layout as a map [B,K,h,w], without prefix tokens; NoMapError if they hold none."""
    if tap is not None:
        return tap.grid(features)
    name = type(net).__name__
    if not isinstance(features, Tensor):
        raise NoMapError(
            f"Features of {name} are a {type(features).__name__}, not one spatial map to explain."
        )
    if features.ndim == 4:
        channels = net.num_features
        last = getattr(net, "output_fmt", "NCHW") == "NHWC" or (
            features.shape[1] != channels and features.shape[-1] == channels
        )
        return features.permute(0, 3, 1, 2) if last else features
    if features.ndim != 3:
        raise NoMapError(f"Features of {name} have shape {tuple(features.shape)}: no spatial map to explain.")
    tokens = features[:, getattr(net, "num_prefix_tokens", 0) :]
    count = tokens.shape[1]
    size = getattr(getattr(net, "patch_embed", None), "grid_size", None)
    if size is None or math.prod(size) != count:
        size = (math.isqrt(count),) * 2
    if math.prod(size) != count:
        raise NoMapError(f"{name} gives {count} spatial tokens, which is no square grid; use square images.")
    return tokens.transpose(1, 2).unflatten(2, tuple(size))


def _probed(net: Any, images: Tensor) -> Probe:
    """Features from the end of the network if its logits depend on them, else from a module inside."""
    with torch.no_grad():
        splits = equal_up_to_rounding(net.forward_head(net.forward_features(images)), net(images))
    if not splits:
        return Probe("independent", None, "its forward is not forward_head(forward_features(x))", splits)
    form, single_token, obstacle = _head_form(net, None, images[:2])
    if form != "independent" and not single_token:
        return Probe(form)
    try:
        tap = find_tap(net, images)
    except NoTapError as error:
        return Probe(form, None, f"{obstacle}; and {error}" if obstacle else str(error))
    return Probe(_head_form(net, tap, images[:2])[0], tap)


def _head_form(net: Any, tap: FeatureTap | None, images: Tensor) -> tuple[HeadForm, bool, str]:
    """The form of a head with random weights, whether features are a single token, and why they are no map.

    The derivative of a logit with respect to the features is compared with that of a pooled linear head.
    """
    with torch.no_grad():
        features = features_of(net, tap, images)
    try:
        grid = grid_of(net, tap, features)
    except NoMapError as error:
        return "independent", False, str(error)
    positions = grid[0, 0].numel()
    single_token = features.ndim == 3 and positions == 1
    with torch.enable_grad():
        features = features.detach().requires_grad_()
        logit = head_of(net, tap, features)[:, 0].sum()
        (gradient,) = torch.autograd.grad(logit, features, allow_unused=True)
    if gradient is None or not grid_of(net, tap, gradient).any():
        return "independent", single_token, ""
    gradient, last = grid_of(net, tap, gradient), net.get_classifier()
    if not isinstance(last, nn.Linear) or last.weight.shape[1] != grid.shape[1]:
        return "differentiable", single_token, ""
    closed = (last.weight[0] / positions).view(1, -1, 1, 1).expand_as(gradient)
    difference = (gradient - closed).abs().max() / closed.abs().max()
    return ("pooled_linear" if difference < TOLERANCE else "differentiable"), single_token, ""


ROUNDING = 100
"""Largest difference attributed to rounding, in machine epsilons of the largest value."""

DENSE = 0.5
"""Fraction of positions the logits must depend on. A class token depends on all, a maximum on few."""


class NoTapError(ValueError):
    """No module of a network is suitable for a feature tap."""


@dataclass(eq=False)
class Call:
    """One call of a module: its dotted name, earlier calls of it, enclosing calls, and what it returned."""

    module: str
    number: int
    within: tuple[Call, ...]
    output: Any = None


def equal_up_to_rounding(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors have the same shape, and values that differ by rounding only."""
    rounding = ROUNDING * torch.finfo(expected.dtype).eps * expected.abs().max()
    return found.shape == expected.shape and bool((found - expected).abs().max() <= rounding)


def find_tap(net: Any, images: Tensor) -> FeatureTap:
    """The last module call of ``forward_features`` at which a network can be tapped.

    Its output must hold a map of more than one position; the graph of autograd must show no other path from
    the images to the logits; most positions of the map must influence a logit; and the logits computed from
    the features must be those of the network. Of several maps in one output, the coarsest is taken, which is
    the deepest. Cost: about five forwards.

    Args:
        net: a network made by :func:`~egat_hub.models.taps.probe_copy`.
        images: three or more [B,3,S,S], normalized.
    """
    few, many = images[:-1], images
    with torch.enable_grad():
        features, began, ended = _trace(net, few.detach().requires_grad_().clone())
        logits = net.forward_head(features)
    with torch.no_grad():
        expected = net(many)
        _, again, _ = _trace(net, many)
    if [call.module for call in began] != [call.module for call in again]:
        raise NoTapError("it does not call the same modules every time")
    if not logits.requires_grad:
        raise NoTapError("its logits do not depend on the images in a differentiable way")
    partner = dict(zip(began, again, strict=True))
    prefix = getattr(net, "num_prefix_tokens", 0)
    for call in reversed(ended):
        found = tensors(call.output)
        maps = {i: Layout.of(one, prefix) for i, one in enumerate(found) if len(one) == len(few)}
        layouts = {place: layout for place, layout in maps.items() if layout is not None}
        if not layouts or any(one.grad_fn is None for one in found) or _bypassed(logits, found):
            continue
        place = next(iter(layouts))
        try:
            tap = FeatureTap(
                module=call.module,
                number=call.number,
                size=(images.shape[-2], images.shape[-1]),
                output=_shapes(call, partner, len(few), len(many)),
                place=place,
                layout=layouts[place],
                actions=_actions(call, began, partner, (len(few), len(many))),
            )
            logits_again, gradient = _logits_and_gradient(net, tap, many)
        except Exception:  # other people's networks: zeros in place of values may fail in any way
            continue
        if not equal_up_to_rounding(logits_again, expected):
            continue
        gradients = tap.parts(gradient)
        influential = [
            (layout.side, place)
            for place, layout in layouts.items()
            if layout.grid(gradients[place]).ne(0).any(1).float().mean() > DENSE
        ]
        if influential:
            _, place = min(influential)
            return replace(tap, place=place, layout=layouts[place])
    raise NoTapError("no module inside gives a map that all of the logits come from")


def _trace(net: Any, images: Tensor) -> tuple[Any, list[Call], list[Call]]:
    """What ``forward_features`` returns, its module calls in order of their beginning, and of their end."""
    began: list[Call] = []
    ended: list[Call] = []
    running: list[Call] = []
    counts: dict[str, int] = {}

    def listen(name: str, module: nn.Module) -> list[Any]:
        def enter(*_: Any) -> None:
            call = Call(name, counts.get(name, 0), tuple(running))
            counts[name] = call.number + 1
            began.append(call)
            running.append(call)

        def leave(_module: nn.Module, _args: Any, output: Any) -> None:
            call = running.pop()
            call.output = output
            ended.append(call)

        return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]

    hooks = [hook for name, module in net.named_modules() if name for hook in listen(name, module)]
    features = net.forward_features(images)
    for hook in hooks:
        hook.remove()
    return features, began, ended


def _logits_and_gradient(net: Any, tap: FeatureTap, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits computed from features, and the derivative of one of them with respect to the features."""
    with torch.no_grad():
        features = tap.features(net, images)
    with torch.enable_grad():
        leaf = features.detach().requires_grad_()
        logits = net.forward_head(tap.head(net, leaf))
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), leaf)
    return logits.detach(), gradient


def _bypassed(logits: Tensor, blocked: Iterable[Tensor]) -> bool:
    """Whether the images reach the logits on another path than through the blocked tensors.

    Weights are constants, so every leaf of the graph is the images.
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
    return tree_map_only(Tensor, lambda one: Shape.of(one, next(others), (few, many)), call.output)


def _actions(
    at: Call, began: list[Call], partner: dict[Call, Call], batches: tuple[int, int]
) -> dict[str, tuple[Any, ...]]:
    """What every call up to the tap does while logits are computed from features, by module."""
    actions: dict[str, list[Any]] = {}
    skipped: set[Call] = set()
    for call in began[: began.index(at)]:
        if skipped.intersection(call.within):
            continue
        depends = any(one.grad_fn is not None for one in tensors(call.output))
        if depends and call not in at.within:
            skipped.add(call)
            actions.setdefault(call.module, []).append(_shapes(call, partner, *batches))
        else:
            actions.setdefault(call.module, []).append(Action.RUN)
    actions.setdefault(at.module, []).append(Action.INJECT)
    return {
        name: tuple(queue)
        for name, queue in actions.items()
        if any(action is not Action.RUN for action in queue)
    }
