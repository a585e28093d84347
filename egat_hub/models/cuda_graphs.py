"""CUDA graphs of the forward and backward pass of a folded network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from egat_hub.models.folding import Folding

_log = logging.getLogger(__name__)


class FoldedGraphs:
    """Forward, and backward to the images, of a folded network, each launched as one CUDA graph.

    With small batches, launching kernels one by one takes longer than running them. The graphs use weights at
    fixed addresses: the network's, and the folded ones, which :meth:`refresh` recomputes.

    Args:
        network: images in [0,1] to logits, currently folded, on a CUDA device.
        foldings: what is folded.
        images: example images [B,3,H,W] of the shape to capture.
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
        """Whether images have the shape and type that was captured."""
        return images.shape == self._images.shape and images.dtype == self._images.dtype

    def refresh(self) -> None:
        """Fold the current weights."""
        if self.foldings:
            self._refresh.replay()

    def gradient(self, images: Tensor, objective: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Image gradient [B,3,H,W] of the sum of an objective [B] of the logits, and the logits [B,C]."""
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
    """Graphs of a network, captured when first needed, and again when weights move or the precision changes.

    They serve the shape of the first images; others run without graphs.
    """

    def __init__(self) -> None:
        self._graphs: FoldedGraphs | None = None
        self._made_for: tuple[object, ...] = ()

    def refreshed(self, network: nn.Module) -> dict[str, Folding] | None:
        """The foldings of the graphs, with current weights, if there are graphs; call it before folding."""
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
        """Graphs of the currently folded network, or None if they were captured for other shapes."""
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
    """Raise a ValueError for what cannot be captured, up front."""
    if device.type != "cuda":
        raise ValueError(f"CUDA graphs need a CUDA device, got {device}. Leave out train.cuda_graphs.")
    if any(hasattr(module, "attention_bias_cache") for module in network.modules()):
        raise ValueError(
            "The network caches attention biases, so a CUDA graph would use those of earlier weights. Leave "
            "out train.cuda_graphs."
        )


def _capture(graph: torch.cuda.CUDAGraph, beside: torch.cuda.CUDAGraph | None = None) -> torch.cuda.graph:
    """Capture into the memory pool of another graph, if given; threads that load images are not affected."""
    pool = beside.pool() if beside else None
    return torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local")


@contextmanager
def _without_cached_casts() -> Iterator[None]:
    """Casts of weights must be part of the graph; those cached by autocast are freed when it ends."""
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)
