"""What is called when, and what it returns, during one forward pass."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


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
