"""Base class of training methods, whose forward is a whole training step, and ERM."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal

import torch
from timm.task import TrainingTask
from torch import Tensor, nn
from torch.nn import functional as F

from egat_hub.core.config import check_choices
from egat_hub.core.distributed import rank
from egat_hub.core.randomness import SampleRandom
from egat_hub.core.registry import Registry
from egat_hub.models import TimmModel
from egat_hub.models.timm_model import View
from egat_hub.models.train_mode import is_batchnorm

METHODS: Registry[type[Method]] = Registry("methods")

POSITIVE = {"positive": True}
"""Metadata of config fields that must be above 0."""


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Options of every method.

    Attributes:
        views: whether clean, attacked and mixed images share one forward. ``"joint"``: yes, so BatchNorm in
            train mode sees all of them as one batch; ``"separate"``: no; ``"auto"``: only if no BatchNorm is
            in train mode, so that the result is the same.
    """

    views: Literal["auto", "joint", "separate"] = "auto"

    def __post_init__(self) -> None:
        check_choices(self)
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, (int, float)) and value < 0:
                raise ValueError(f"Expected {item.name} of at least 0, got {value}.")
            if item.metadata.get("positive") and not value:
                raise ValueError(f"Expected {item.name} above 0, got {value}.")


@dataclass(frozen=True)
class Batch:
    """A training batch.

    Attributes:
        images: [B,3,H,W] in [0,1].
        labels: classes [B].
        masks: object masks [B,1,H,W] in [0,1], if the data set has them.
        random: random numbers keyed by seed, step and image.
        frames: crop and flip of each image [B,5], if known; see :meth:`Method.forward`.
        metrics: values to log besides the loss; filled by the method.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None
    random: SampleRandom
    frames: Tensor | None = None
    metrics: dict[str, Tensor] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Training step, from 0."""
        return self.random.step


class Method(TrainingTask):
    """A training method around a timm network.

    ``forward`` runs the whole step: attack, explanations and all loss terms. DDP, FSDP, mixed precision and
    compilation therefore wrap the method as one module.

    Args:
        network: a timm classifier, or a :class:`TimmModel`.
        config: the method's config; by default ``config_class(**overrides)``.
        seed: seed of attacks, mixup and guide noise.
        overrides: fields of the config.
    """

    config_class: ClassVar[type[MethodConfig]] = MethodConfig
    _next_step: Tensor

    def __init__(
        self, network: nn.Module, config: MethodConfig | None = None, *, seed: int = 0, **overrides: Any
    ) -> None:
        super().__init__(verbose=False)
        self.trainable_module = network if isinstance(network, TimmModel) else TimmModel(network)
        self.config = replace(config or self.config_class(), **overrides)
        self.seed = seed
        self.register_buffer("_next_step", torch.zeros((), dtype=torch.long))
        self._checked = False

    @property
    def model(self) -> TimmModel:
        """The network being trained, in pixel space."""
        return self.trainable_module

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without weight decay, for timm's optimizers."""
        names: set[str] = getattr(self.model.net, "no_weight_decay", set)()
        return {f"trainable_module.net.{name}" for name in names}

    def lr_scale(self, parameter: str) -> float:
        """Learning rate of a parameter relative to that of the run."""
        return 1.0

    @property
    def needs_masks(self) -> bool:
        """Whether every batch needs object masks."""
        return False

    @property
    def needs_index(self) -> bool:
        """Whether ``forward`` needs ``index``, the numbers that identify images across epochs."""
        return False

    def restarts_optimizer(self, step: int) -> bool:
        """Whether to reset the optimizer before a step, because the objective jumps."""
        return False

    def forward(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        index: Tensor | None = None,
        step: int | None = None,
        mask: Tensor | None = None,
        frame: Tensor | None = None,
    ) -> dict[str, Any]:
        """Compute the loss of a training step. Inputs are checked at the first call.

        Args:
            images: [B,3,H,W] in [0,1], not normalized.
            labels: classes [B], of any integer type.
            index: numbers [B] that identify the images; by default their position in the global batch.
            step: training step; by default a counter of calls in train mode, stored in ``state_dict``.
            mask: object masks [B,1,H,W] in [0,1].
            frame: crop and flip of each image [B,5]: ``top, left, height, width`` relative to the image's
                size, and 1 if flipped. By default the whole image.

        Returns:
            ``"loss"``, ``"output"`` (logits [B,C]), ``"metrics"`` (detached scalars to log, by name) and the
            weighted loss terms by name, which sum to the loss.
        """
        if step is None:
            step = int(self._next_step)
            self._next_step += int(self.training)
        if index is None:
            if self.needs_index:
                raise ValueError(
                    f"{type(self).__name__} stores perturbations of images between epochs and must identify "
                    "them. Pass index=, numbers [B] that identify the images."
                )
            index = torch.arange(len(images)) + rank() * len(images)
        if not self._checked:
            self._check(images, labels, mask)
            self._checked = True
        random = SampleRandom(self.seed, tuple(index.tolist()), step)
        batch = Batch(images, labels.long(), mask, random, frame)
        logits, terms = self.terms(batch)
        loss = torch.stack(list(terms.values())).sum()
        return {"loss": loss, "output": logits, "metrics": batch.metrics, **terms}

    @abstractmethod
    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits [B,C] of the clean images, and the weighted terms of the loss by name."""

    def check_model(self) -> None:
        """Raise a ValueError for a network that the method cannot train, before the first step."""

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Initialize parameters from the method's seed; the global random state does not change."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            yield

    @contextmanager
    def captured(self) -> Iterator[None]:
        """Run gradients of training attacks as CUDA graphs; results are equal up to rounding.

        Without effect on methods without attack, objectives that are not a function of the logits (IGN) and
        batches of another shape than the first. The method cannot be copied meanwhile.
        """
        yield

    def check_capturable(self, device: torch.device) -> None:
        """Raise a ValueError if :meth:`captured` does not support the method on a device."""

    def plain(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """``CE(f(x), y)`` alone, for methods whose other terms have weight 0."""
        logits = self.model(batch.images)
        return logits, {"cls": F.cross_entropy(logits, batch.labels)}

    def views(self, *images: Tensor) -> list[View]:
        """Views of several versions of a batch, in one forward if ``config.views`` allows it."""
        joint = self.config.views == "joint" or (
            self.config.views == "auto"
            and not any(m.training for m in self.model.modules() if is_batchnorm(m))
        )
        if not joint or len(images) == 1:
            return [self.model.view(version) for version in images]
        parts = (part.chunk(len(images)) for part in self.model.view(torch.cat(images))[1:])
        return [View(*view) for view in zip(images, *parts, strict=True)]

    def prepare_distributed(self, device_ids: list | None = None, **ddp_kwargs: Any) -> TrainingTask:
        """Not supported: DDP must wrap the whole method."""
        raise RuntimeError(
            "DDP must wrap the whole method: use accelerator.prepare(method) or "
            "torch.nn.parallel.DistributedDataParallel(method), and call only the result."
        )

    def _check(self, images: Tensor, labels: Tensor, mask: Tensor | None) -> None:
        self.check_model()
        channels = self.model.mean.shape[1]
        if images.ndim != 4 or images.shape[1] != channels or labels.shape != images.shape[:1]:
            raise ValueError(
                f"Expected images [B,3,H,W] and labels [B], got {tuple(images.shape)} and "
                f"{tuple(labels.shape)}."
            )
        if labels.is_floating_point():
            raise ValueError(f"Expected integer labels, got {labels.dtype}; labels are numbers of classes.")
        low, high = images.min().item(), images.max().item()
        if not (low >= 0 and high <= 1):  # so that NaN is refused too
            raise ValueError(
                f"Expected images in [0, 1], got values from {low:.3g} to {high:.3g}. Divide 8-bit values by "
                "255. Do not normalize: the method applies the network's mean and standard deviation."
            )
        first, last = int(labels.min()), int(labels.max())
        if first < 0 or last >= self.model.num_classes:
            raise ValueError(
                f"Expected labels from 0 to below num_classes={self.model.num_classes}, got "
                f"{first if first < 0 else last}; create the network with the data set's number of classes."
            )
        expected = (len(images), 1, *images.shape[2:])
        if mask is not None and mask.shape != expected:
            raise ValueError(
                f"Expected masks [B,1,H,W] of the images' size, {expected}, got {tuple(mask.shape)}."
            )
        if self.needs_masks and mask is None:
            raise ValueError(
                f"{type(self).__name__} needs object masks and the batch has none. Set masks_dir, or use "
                "--data synthetic, which has masks."
            )


@METHODS.register("erm")
class ERM(Method):
    """``CE(f(x), y)``. Cost: one forward, one backward."""

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return self.plain(batch)
