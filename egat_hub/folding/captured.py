"""A folded network as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from egat_hub.folding.folded import Folding


class Captured:
    """Forward and backward to the images of a folded network, each launched at once instead of by kernel.

    Where batches are small, launching kernels one by one takes longer than they run. What is captured are the
    network's own kernels, on weights that stay where they are in memory: live ones, and folded ones that
    :meth:`refresh` computes anew.

    Args:
        network: images in [0,1] to logits, folded at the moment, on a CUDA device.
        foldings: what is folded.
        images: any images [B,3,H,W] of the shape to come.

    Raises:
        RuntimeError: the network does something that cannot be captured, such as waiting for the device.
    """

    def __init__(self, network: nn.Module, foldings: Mapping[str, Folding], images: Tensor) -> None:
        self.foldings = dict(foldings)
        self._network = network
        self._asked = _asked(images)
        with torch.enable_grad(), _without_cached_casts():
            self._images = images.detach().clone().requires_grad_()
            self._warm_up()
            self._forward, self._backward, self._refresh = (torch.cuda.CUDAGraph() for _ in range(3))
            with _capture(self._forward):
                self._logits = network(self._images)
            self._by_logits = torch.zeros_like(self._logits)
            with _capture(self._backward, self._forward):
                (self._gradient,) = torch.autograd.grad(self._logits, self._images, self._by_logits)
            with _capture(self._refresh, self._forward):
                self._refold()

    def fits(self, images: Tensor) -> bool:
        """Whether images are of the shape and type that was captured, and in the same precision."""
        return self._asked == _asked(images)

    def refresh(self) -> None:
        """Fold the weights as they are now."""
        self._refresh.replay()

    def slope(self, images: Tensor, objective: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """The gradient [B,3,H,W] of the sum of ``objective``, a function of the logits, and the logits [B,C].

        Args:
            images: [B,3,H,W] that fit.
            objective: logits [B,C] to one value a sample [B].
        """
        with torch.no_grad():
            self._images.copy_(images)
        self._forward.replay()
        with torch.enable_grad():
            logits = self._logits.detach().clone().requires_grad_()
            (by_logits,) = torch.autograd.grad(objective(logits).sum(), logits)
        self._by_logits.copy_(by_logits)
        self._backward.replay()
        return self._gradient.clone(), logits.detach()

    def _warm_up(self) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                logits = self._network(self._images)
                torch.autograd.grad(logits, self._images, torch.zeros_like(logits))
                self._refold()
        torch.cuda.current_stream().wait_stream(stream)

    def _refold(self) -> None:
        for folding in self.foldings.values():
            folding.refresh()


class Captures:
    """What was captured last, for as long as it holds."""

    def __init__(self) -> None:
        self._captured: Captured | None = None
        self._places: tuple[object, ...] = ()

    def foldings(self, network: nn.Module) -> dict[str, Folding] | None:
        """What is folded in the graphs, refreshed, or None without graphs; to be asked before folding."""
        tensors = (*network.parameters(), *network.buffers())
        places = _lowered(), *(tensor.data_ptr() for tensor in tensors)
        if places != self._places:
            self._captured, self._places = None, places
        if self._captured is None:
            return None
        self._captured.refresh()
        return self._captured.foldings

    def of(self, network: nn.Module, foldings: Mapping[str, Folding], images: Tensor) -> Captured:
        """Graphs of the network as it is folded now, for images of this shape."""
        if self._captured is None or not self._captured.fits(images):
            self._captured = Captured(network, foldings, images)
        return self._captured


def check_capturable(network: nn.Module, device: torch.device) -> None:
    """Refuse what is known not to work, before anything is captured.

    Raises:
        ValueError: a device that is not of CUDA, or a network that keeps what it computed of its weights.
    """
    if device.type != "cuda":
        raise ValueError(f"CUDA graphs need a CUDA device, got {device}. Leave out train.cuda_graphs.")
    if any(hasattr(module, "attention_bias_cache") for module in network.modules()):
        raise ValueError(
            "The network keeps attention biases from forward to forward, and a CUDA graph would go on using them "
            "after its weights have changed. Leave out train.cuda_graphs."
        )


def _capture(graph: torch.cuda.CUDAGraph, beside: torch.cuda.CUDAGraph | None = None) -> torch.cuda.graph:
    """Other threads, which load images, may go on meanwhile."""
    pool = beside.pool() if beside else None
    return torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local")


@contextmanager
def _without_cached_casts() -> Iterator[None]:
    """Casts of weights belong into the graph; those that autocast keeps are gone when it ends."""
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)


def _asked(images: Tensor) -> tuple[object, ...]:
    return images.shape, images.dtype, _lowered()


def _lowered() -> object:
    return torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda")
