"""The model that users load: it knows its label names, prepares photos, and explains its predictions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch
from huggingface_hub import CommitInfo
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn

from egat_hub.core.results import Row
from egat_hub.data.images import to_image, to_rgb
from egat_hub.explanations import EXPLANATIONS, Explanation, dead
from egat_hub.explanations.overlay import upsample
from egat_hub.hub.prediction import ImageLike, Prediction, check_label_names, label_index, to_photo
from egat_hub.models import TimmModel
from egat_hub.models.train_mode import evaluating

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from egat_hub.hub.manifest import Fingerprint

Label = str | int


class Classifier(nn.Module):
    """A timm network in pixel space with label names.

    Args:
        model: the network.
        label_names: one name per class, in the order of the logits.
        metadata: how the model was made (method, config, seed, versions...), of JSON types.

    Attributes:
        rows: results of the model as it was saved.
    """

    def __init__(
        self, model: TimmModel, label_names: Sequence[str], metadata: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.label_names = check_label_names(label_names, model.num_classes)
        self.metadata = dict(metadata or {})
        self.rows: tuple[Row, ...] = ()
        self.fingerprint: Fingerprint | None = None
        self._preprocessing()  # a config that timm cannot use fails here

    def forward(self, images: Tensor) -> Tensor:
        """Images [B,3,H,W] in [0,1] to logits [B,C]."""
        return self.model(images)

    def transform(self, image: Image.Image) -> Tensor:
        """Convert a PIL image of any mode and size to the network's input, float32 [3,S,S] in [0,1].

        This is timm's evaluation transform of the network, without normalization.
        """
        return self._preprocessing()[0](to_rgb(image)).float() / 255

    def _preprocessing(self) -> tuple[Any, dict[str, Any]]:
        size = self.model.image_size
        config = {**resolve_model_data_config(self.model.net), "input_size": (3, size, size)}
        return create_transform(**config, is_training=False, normalize=False), config

    @overload
    def explain(
        self,
        image: ImageLike,
        label: Label | None = None,
        *,
        explanation: Explanation | str = "grad_cam",
        batch_size: int = 16,
    ) -> Prediction: ...

    @overload
    def explain(
        self,
        image: list[ImageLike],
        label: Label | Sequence[Label] | None = None,
        *,
        explanation: Explanation | str = "grad_cam",
        batch_size: int = 16,
    ) -> list[Prediction]: ...

    def explain(
        self,
        image: ImageLike | list[ImageLike],
        label: Label | Sequence[Label] | None = None,
        *,
        explanation: Explanation | str = "grad_cam",
        batch_size: int = 16,
    ) -> Prediction | list[Prediction]:
        """Predict the class of an image and explain the prediction.

        Args:
            image: a path, a PIL image, the bytes of an image file, an open binary file, a uint8 array [H,W,3]
                or [H,W], a float tensor [3,S,S] in [0,1], or a list of them.
            label: name or index of the class to explain, or a list with one for each image; default: the
                predicted class.
            explanation: an explanation, or the name of a registered one.
            batch_size: number of images that the network takes at once.

        Returns:
            A :class:`Prediction`, or a list of them for a list of images.

        Raises:
            TypeError: an image or label of another form.
            FileNotFoundError: no file at a path.
            ValueError: an unreadable image, a tensor of another shape or range, an unknown label, or logits
                that are not finite.
        """
        if not isinstance(explanation, Explanation):
            explanation = (EXPLANATIONS[explanation] if isinstance(explanation, str) else explanation)()
        images = image if isinstance(image, list) else [image]
        labels: list[Any] = list(label) if isinstance(label, (list, tuple)) else [label] * len(images)
        if len(labels) != len(images):
            raise ValueError(f"Expected one label for each of {len(images)} images, got {len(labels)}.")
        classes = [None if one is None else label_index(one, self.label_names) for one in labels]
        found: list[Prediction] = []
        with evaluating(self):
            for start in range(0, len(images), batch_size):
                part = slice(start, start + batch_size)
                found += self._explain(images[part], classes[part], explanation)
        constant = [index for index, one in enumerate(found) if one.dead]
        if constant:
            warnings.warn(
                f"The saliency map of {len(constant)} of {len(found)} images is constant and shows nothing. "
                "A network whose last feature map has one position always gives such maps; use larger images "
                "or another explanation.",
                stacklevel=2,
            )
        return found if isinstance(image, list) else found[0]

    @torch.no_grad()
    def _explain(
        self, sources: Sequence[ImageLike], classes: Sequence[int | None], explanation: Explanation
    ) -> list[Prediction]:
        prepared = [self._prepare(source) for source in sources]
        images = torch.stack([pixels for pixels, _ in prepared])
        view = self.model.view(images.to(self.model.mean))
        if not torch.isfinite(view.logits).all():
            raise ValueError("The network's logits are not finite, so its weights are broken.")
        predicted = view.logits.argmax(1).tolist()
        indices = [top if index is None else index for top, index in zip(predicted, classes, strict=True)]
        explained = torch.tensor(indices, device=view.logits.device)
        maps = explanation.of(self.model, view, explained).float().cpu()
        saliency = upsample(maps, images.shape[-2:])
        probabilities = view.logits.float().softmax(1).tolist()
        return [
            Prediction(
                label=self.label_names[index],
                probability=probabilities[row][index],
                probabilities=dict(zip(self.label_names, probabilities[row], strict=True)),
                saliency=saliency[row],
                image=to_image(images[row]),
                dead=bool(dead(maps)[row]),
                source=sources[row],
                crop=prepared[row][1],
            )
            for row, index in enumerate(indices)
        ]

    def _prepare(self, source: ImageLike) -> tuple[Tensor, tuple[float, float]]:
        """The network's input, and the height and width of the part of the photo that it shows."""
        size = self.model.image_size
        if isinstance(source, Tensor):
            return self._check_pixels(source), (size, size)
        photo = to_photo(source)
        transform, config = self._preprocessing()
        resized = math.floor(size / config["crop_pct"])
        ratios = photo.height / resized, photo.width / resized
        if config["crop_mode"] != "squash":
            ratios = (min(ratios),) * 2 if config["crop_mode"] == "center" else (max(ratios),) * 2
        return transform(photo).float() / 255, (size * ratios[0], size * ratios[1])

    def _check_pixels(self, pixels: Tensor) -> Tensor:
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

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        rows: Sequence[Row] | None = None,
        figures: Mapping[str, Figure] | None = None,
    ) -> None:
        """Save the model, its results and its card in a folder, which timm and transformers load too.

        See :func:`egat_hub.hub.save_pretrained`.
        """
        from egat_hub.hub.saving import save_pretrained

        save_pretrained(self, folder, rows=rows, figures=figures)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        rows: Sequence[Row] | None = None,
        figures: Mapping[str, Figure] | None = None,
        **options: Any,
    ) -> CommitInfo:
        """Push the model, its results and its card to the Hugging Face Hub in one commit.

        See :func:`egat_hub.hub.save_pretrained` for ``rows`` and ``figures``, and
        :func:`egat_hub.hub.push_to_hub` for the repository and the other options.
        """
        import tempfile

        from egat_hub.hub.saving import push_to_hub

        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / repo_id.rpartition("/")[2]
            self.save_pretrained(folder, rows=rows, figures=figures)
            return push_to_hub(folder, repo_id, **options)
