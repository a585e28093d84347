"""A folded network as CUDA graphs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from egat_hub.models.folding import Folding

_log = logging.getLogger(__name__)


class FoldedGraphs:
    """Forward and backward to the images of a folded network, each launched at once instead of by kernel.

    Where batches are small, launching kernels one by one takes longer than they run. What is captured are the
    network's own kernels, on weights that stay where they are in memory: live ones, and folded ones that
    :meth:`refresh` computes anew. Activations keep memory of their own for as long as the graphs are there.

    Args:
        network: images in [0,1] to logits, folded at the moment, on a CUDA device.
        foldings: what is folded.
        images: any images [B,3,H,W] of the shape to come.

    Raises:
        RuntimeError: the network does something that cannot be captured, such as waiting for the device.
    """

    def __init__(self, network: nn.Module, foldings: Mapping[str, Folding], images: Tensor) -> None:
        self.foldings = dict(foldings)
        self._forward, self._backward, self._refresh = (torch.cuda.CUDAGraph() for _ in range(3))
        with torch.cuda.device(images.device), torch.enable_grad(), _without_cached_casts():
            self._images = images.detach().clone().requires_grad_()
            self._warm_up(network)
            with _capture(self._forward):
                logits = network(self._images)
            self._by_logits = torch.zeros_like(logits)
            with _capture(self._backward, self._forward):
                (self._gradient,) = torch.autograd.grad(logits, self._images, self._by_logits)
            self._logits = logits.detach()
            if self.foldings:
                with _capture(self._refresh, self._forward):
                    self._refold()

    def fits(self, images: Tensor) -> bool:
        """Whether images are of the shape and type that was captured."""
        return images.shape == self._images.shape and images.dtype == self._images.dtype

    def refresh(self) -> None:
        """Fold the weights as they are now."""
        if self.foldings:
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
            logits = self._logits.clone().requires_grad_()
            (by_logits,) = torch.autograd.grad(objective(logits).sum(), logits)
        self._by_logits.copy_(by_logits)
        self._backward.replay()
        return self._gradient.clone(), logits.detach()

    def _warm_up(self, network: nn.Module) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                logits = network(self._images)
                torch.autograd.grad(logits, self._images, torch.zeros_like(logits))
                self._refold()
        torch.cuda.current_stream().wait_stream(stream)

    def _refold(self) -> None:
        for folding in self.foldings.values():
            folding.refresh()


class GraphCache:
    """Graphs of a network, made when they are first needed, and again where weights or precision are others.

    They are for the first shape of images that comes; others have none.
    """

    def __init__(self) -> None:
        self._graphs: FoldedGraphs | None = None
        self._made_for: tuple[object, ...] = ()

    def refreshed(self, network: nn.Module) -> dict[str, Folding] | None:
        """What is folded in the graphs, from the weights as they are now; None where there are no graphs.

        To be asked before the network is folded.
        """
        places = [tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers())]
        precision = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
        if (*precision, *places) != self._made_for:
            self._graphs, self._made_for = None, (*precision, *places)
        if self._graphs is None:
            return None
        self._graphs.refresh()
        return self._graphs.foldings

    def graphs(
        self, network: nn.Module, foldings: Mapping[str, Folding], images: Tensor
    ) -> FoldedGraphs | None:
        """Graphs of the network as it is folded now, if they are or can be for images like these.

        Raises:
            RuntimeError: the network cannot be captured.
        """
        if self._graphs is None:
            try:
                self._graphs = FoldedGraphs(network, foldings, images)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise RuntimeError(
                    f"The network cannot be captured as CUDA graphs: {error.__context__ or error}. "
                    "Leave out train.cuda_graphs."
                ) from error
            _log.info("captured the attack on images %s", tuple(images.shape))
        return self._graphs if self._graphs.fits(images) else None


def check_capturable(network: nn.Module, device: torch.device) -> None:
    """Refuse what is known not to work, before anything is captured.

    Raises:
        ValueError: a device that is not of CUDA, or a network that keeps what it computed of its weights.
    """
    if device.type != "cuda":
        raise ValueError(f"CUDA graphs need a CUDA device, got {device}. Leave out train.cuda_graphs.")
    if any(hasattr(module, "attention_bias_cache") for module in network.modules()):
        raise ValueError(
            "The network keeps attention biases from forward to forward, and a CUDA graph would use those of "
            "earlier weights. Leave out train.cuda_graphs."
        )


def _capture(graph: torch.cuda.CUDAGraph, beside: torch.cuda.CUDAGraph | None = None) -> torch.cuda.graph:
    """In the memory of another graph, if there is one. Other threads, which load images, may go on."""
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
