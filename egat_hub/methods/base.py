"""The contract of training methods, one module whose forward is a whole training step; and ERM."""

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
from egat_hub.models.modes import is_batchnorm
from egat_hub.models.timm_model import View

METHODS: Registry[type[Method]] = Registry("methods")


POSITIVE = {"positive": True}
"""Metadata of a field of a config that must not be 0."""


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """What every method can be told.

    Attributes:
        views: whether several versions of a batch (clean, adversarial, mixed) share one forward.
            ``"joint"`` joins them, so BatchNorm in train mode sees one batch of all; ``"separate"`` gives
            each its own forward; ``"auto"`` joins them where the result is the same, which is where no
            BatchNorm is in train mode.
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
        masks: object masks [B,1,H,W] in [0,1], where the data set has them.
        random: keyed random numbers of this step and these images.
        frames: which part of its image each one shows [B,5], where that is known.
        figures: what a method finds worth logging besides its loss; filled by the step.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None
    random: SampleRandom
    frames: Tensor | None = None
    figures: dict[str, Tensor] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Training step, from 0."""
        return self.random.step


class Method(TrainingTask):
    """A training method around a timm network.

    ``forward`` runs the whole step - attack, explanations, every loss term - so the one object that is
    prepared for several processes, mixed precision or compilation is also the only one that is called.

    Args:
        network: a timm classifier, or a :class:`TimmModel`.
        config: the method's config; by default ``config_class(**overrides)``.
        seed: seed of attack starts, mixup and guide noise.
        overrides: single fields of the config.

    Raises:
        TypeError: ``network`` is no timm classifier, or an override is no field of the config.
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
        """Names of the parameters that the network wants left out of weight decay, for timm's optimisers."""
        names: set[str] = getattr(self.model.net, "no_weight_decay", set)()
        return {f"trainable_module.net.{name}" for name in names}

    def lr_scale(self, parameter: str) -> float:
        """Learning rate of a parameter, by its name, relative to that of the run."""
        return 1.0

    @property
    def needs_masks(self) -> bool:
        """Whether every batch has to come with object masks."""
        return False

    @property
    def needs_index(self) -> bool:
        """Whether images have to come with their numbers, by which they are known again."""
        return False

    def restarts_optimizer(self, step: int) -> bool:
        """Whether the optimiser forgets its state before a step, as after a jump of the objective."""
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
        """One training step up to, and without, the backward pass.

        Args:
            images: [B,3,H,W] in [0,1], not normalised.
            labels: classes [B].
            index: stable numbers of the images [B]; by default their position in the global batch.
            step: training step; by default the number of earlier calls in train mode without one, which is
                kept in ``state_dict``.
            mask: object masks [B,1,H,W] in [0,1].
            frame: which part of its image each one shows after augmentation [B,5]: ``top, left, height,
                width`` in shares of the image's sides, and 1 where it is flipped. By default the whole of
                it.

        Returns:
            ``"loss"``, ``"output"`` (logits of the clean images [B,C]), ``"figures"`` (detached scalars that
            are worth watching, by name) and the weighted loss terms by name; the terms sum to the loss.

        Raises:
            ValueError: at the first call, shapes that do not fit, images that are not in [0, 1], masks needed
                but missing; at any call, numbers of images needed but missing.
        """
        if step is None:
            step = int(self._next_step)
            self._next_step += int(self.training)
        if index is None:
            if self.needs_index:
                raise ValueError(
                    f"{type(self).__name__} is set to keep something of every image and does not know which "
                    "these are. Pass index=, stable numbers of the images [B]."
                )
            index = torch.arange(len(images)) + rank() * len(images)
        if not self._checked:
            self._check(images, labels, mask)
            self._checked = True
        random = SampleRandom(self.seed, tuple(index.tolist()), step)
        batch = Batch(images, labels, mask, random, frame)
        logits, terms = self.terms(batch)
        loss = torch.stack(list(terms.values())).sum()
        return {"loss": loss, "output": logits, "figures": batch.figures, **terms}

    @abstractmethod
    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits [B,C] of the clean images, and the weighted terms of the loss by name."""

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Inside, new parameters come from the method's seed; the global random state is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            yield

    @contextmanager
    def captured(self) -> Iterator[None]:
        """Inside, the gradients of a training attack are launched as CUDA graphs, equal up to rounding.

        Methods that do not attack, objectives that are no function of the logits (IGN), and batches of
        another shape than the first run as always. Inside, the method cannot be copied.

        Raises:
            ValueError: as :meth:`check_capturable`.
            RuntimeError: at the first step, a network that cannot be captured.
        """
        yield

    def check_capturable(self, device: torch.device) -> None:
        """Refuse what :meth:`captured` is known not to work with, on the device to come.

        Raises:
            ValueError: the method attacks, and its device or network is not for it.
        """

    def plain(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """``CE(f(x), y)`` alone: what is left of a method whose further terms have weight 0."""
        logits = self.model(batch.images)
        return logits, {"cls": F.cross_entropy(logits, batch.labels)}

    def views(self, *images: Tensor) -> list[View]:
        """Forward passes of several versions of a batch, in as few calls as ``config.views`` allows."""
        joint = self.config.views == "joint" or (
            self.config.views == "auto"
            and not any(m.training for m in self.model.modules() if is_batchnorm(m))
        )
        if not joint or len(images) == 1:
            return [self.model.view(version) for version in images]
        features, logits = self.model.view(torch.cat(images))[1:]
        count = len(images)
        return [
            View(*parts) for parts in zip(images, features.chunk(count), logits.chunk(count), strict=True)
        ]

    def prepare_distributed(self, device_ids: list | None = None, **ddp_kwargs: Any) -> TrainingTask:
        """Refused: wrapping a part of a method would let processes drift apart.

        Raises:
            RuntimeError: always, with the remedy.
        """
        raise RuntimeError(
            "A method is distributed as a whole: use accelerator.prepare(method) or "
            "torch.nn.parallel.DistributedDataParallel(method) and call only the result."
        )

    def _check(self, images: Tensor, labels: Tensor, mask: Tensor | None) -> None:
        channels = self.model.mean.shape[1]
        if images.ndim != 4 or images.shape[1] != channels or labels.shape != images.shape[:1]:
            raise ValueError(
                f"Expected images [B,3,H,W] and labels [B], got {tuple(images.shape)} and "
                f"{tuple(labels.shape)}."
            )
        low, high = images.min().item(), images.max().item()
        if not (low >= 0 and high <= 1):  # so that NaN is refused too
            raise ValueError(
                f"Expected images in [0, 1], got values from {low:.3g} to {high:.3g}. Divide 8-bit values by "
                "255. Do not normalise: the network's mean and standard deviation are applied inside."
            )
        first, last = int(labels.min()), int(labels.max())
        if first < 0 or last >= self.model.num_classes:
            raise ValueError(
                f"Expected labels from 0 to below num_classes={self.model.num_classes}, got "
                f"{first if first < 0 else last}; create the network with the number of classes of the data "
                "set."
            )
        expected = (len(images), 1, *images.shape[2:])
        if mask is not None and mask.shape != expected:
            raise ValueError(
                f"Expected masks [B,1,H,W] as large as the images, {expected}, got {tuple(mask.shape)}."
            )
        if self.needs_masks and mask is None:
            raise ValueError(
                f"{type(self).__name__} is set to use object masks and the batch has none. Give the data set "
                "a masks_dir, or use --data synthetic, which has masks."
            )


@METHODS.register("erm")
class ERM(Method):
    """``CE(f(x), y)``. Cost: one forward, one backward."""

    def terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return self.plain(batch)
