"""What loading a model gives: a classifier that names its classes and shows why it decides."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn

from egat_hub.data.images import open_image, to_image, to_rgb
from egat_hub.explanations import EXPLANATIONS, Explanation, dead
from egat_hub.explanations.overlay import Explained, upsample
from egat_hub.models import TimmModel
from egat_hub.models.modes import evaluating

ImageLike = str | Path | Image.Image | Tensor


class Classifier(nn.Module):
    """A backbone that knows the names of its classes and how images are prepared for it.

    Args:
        model: the network, in pixel space.
        label_names: one name a class, in the order of the logits.
        metadata: how the model came to be (method, config, seed, versions...).

    Raises:
        ValueError: the names do not fit the network's classes.
    """

    def __init__(
        self, model: TimmModel, label_names: Sequence[str], metadata: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.label_names = check_label_names(label_names, model.num_classes)
        self.metadata = dict(metadata or {})
        config = resolve_model_data_config(model.net)
        config["input_size"] = (3, model.image_size, model.image_size)
        self._resize = create_transform(**config, is_training=False, normalize=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B,3,H,W] in [0,1] to logits [B,C]."""
        return self.model(images)

    def transform(self, image: Image.Image) -> Tensor:
        """A PIL image of any mode and size as float32 [3,S,S] in [0,1], as the network expects it.

        These are the pixels of timm's evaluation transform for this network, before normalisation.
        """
        return self._resize(to_rgb(image)).float() / 255

    @overload
    def explain(
        self, image: ImageLike, label: str | int | None = None, *, explanation: Explanation | str = "grad_cam"
    ) -> Explained: ...

    @overload
    def explain(
        self,
        image: list[ImageLike],
        label: str | int | None = None,
        *,
        explanation: Explanation | str = "grad_cam",
    ) -> list[Explained]: ...

    def explain(
        self,
        image: ImageLike | list[ImageLike],
        label: str | int | None = None,
        *,
        explanation: Explanation | str = "grad_cam",
    ) -> Explained | list[Explained]:
        """Predict and say why.

        Args:
            image: a path, a PIL image, a tensor [3,S,S] in [0,1], or a list of them.
            label: name or index of the class to explain; by default the predicted one of every image.
            explanation: how to explain, as an object or as a registered name.

        Returns:
            One :class:`Explained`, or a list of them for a list of images.

        Raises:
            FileNotFoundError: a path where no file is.
            ValueError: an unreadable image file, a tensor of another shape or range, or an unknown label.
            UnknownNameError: no explanation has that name.
        """
        if isinstance(explanation, str):
            explanation = EXPLANATIONS[explanation]()
        index = None if label is None else self._index(label)
        batch = image if isinstance(image, list) else [image]
        if not batch:
            return []
        with evaluating(self):
            explained = self._explain(torch.stack([self._prepare(one) for one in batch]), index, explanation)
        return explained if isinstance(image, list) else explained[0]

    @torch.no_grad()
    def _explain(self, images: Tensor, index: int | None, explanation: Explanation) -> list[Explained]:
        view = self.model.view(images.to(self.model.mean))
        classes = (
            view.logits.argmax(1) if index is None else view.logits.new_full((len(images),), index).long()
        )
        maps = explanation.of(self.model, view, classes).float().cpu()
        saliency = upsample(maps, images.shape[-2:])
        probabilities = view.logits.float().softmax(1).tolist()
        return [
            Explained(
                label=self.label_names[c],
                probability=p[c],
                probabilities=dict(zip(self.label_names, p, strict=True)),
                saliency=s,
                image=to_image(pixels),
                dead=is_dead,
            )
            for c, p, s, pixels, is_dead in zip(
                classes.tolist(), probabilities, saliency, images.cpu(), dead(maps).tolist(), strict=True
            )
        ]

    def _prepare(self, image: ImageLike) -> Tensor:
        if isinstance(image, Tensor):
            return self._checked(image)
        return self.transform(image if isinstance(image, Image.Image) else open_image(image))

    def _checked(self, pixels: Tensor) -> Tensor:
        size = self.model.image_size
        if pixels.shape != (3, size, size) or not pixels.is_floating_point():
            raise ValueError(
                f"Expected a float tensor [3,{size},{size}], got {pixels.dtype} {list(pixels.shape)}; pass "
                "the PIL image itself, or a list of tensors for a batch."
            )
        low, high = pixels.min().item(), pixels.max().item()
        if not 0 <= low <= high <= 1:
            raise ValueError(
                f"Expected pixels in [0, 1], got {low:.3g} to {high:.3g}; mean and std are applied inside "
                "the model, so leave normalisation out."
            )
        return pixels.float().cpu()

    def _index(self, label: str | int) -> int:
        if isinstance(label, int):
            if 0 <= label < len(self.label_names):
                return label
            raise ValueError(f"Expected a class index from 0 to {len(self.label_names) - 1}, got {label}.")
        if label in self.label_names:
            return self.label_names.index(label)
        close = difflib.get_close_matches(label, self.label_names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"No class {label!r}.{hint} Known: {', '.join(self.label_names[:20])}.")


def check_label_names(label_names: Sequence[str], num_classes: int) -> tuple[str, ...]:
    """The names as a tuple.

    Raises:
        ValueError: not one distinct name a class.
    """
    names = tuple(label_names)
    if len(names) != num_classes or isinstance(label_names, str):
        raise ValueError(
            f"Expected {num_classes} label names, one for each class of the network, got {len(names)}: "
            f"{', '.join(names[:10])}."
        )
    strange = sorted(name for name in names if not name.isprintable())
    if strange:
        raise ValueError(
            f"Expected label names of printable characters, got {', '.join(map(repr, strange[:3]))[:200]}."
        )
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"Expected distinct label names, got more than one {', '.join(twice[:10])}.")
    return names
