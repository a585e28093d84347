"""What the diffusion model is told about an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """A prompt for every image, from the name of its true class or from a captioner.

    Attributes:
        label_names: one name a class, in the order of the logits; underscores are read as spaces.
        template: sentence with one ``{}`` for the name.
        captioner: images [B,3,H,W] in [0,1] to B captions, in place of names.

    Raises:
        ValueError: a template without a place for the name.
    """

    label_names: tuple[str, ...] = ()
    template: str = "a photo of a {}"
    captioner: Callable[[Tensor], Sequence[str]] | None = None

    def __post_init__(self) -> None:
        if self.template.count("{}") != 1:
            raise ValueError(f"Expected a template with one {{}} for the class name, got {self.template!r}.")

    def __call__(self, images: Tensor, labels: Tensor) -> list[str]:
        """A prompt for each of the images.

        Args:
            images: [B,3,H,W] in [0,1].
            labels: true classes [B].

        Raises:
            ValueError: neither names nor a captioner, or a class without a name.
        """
        if self.captioner is not None:
            return list(self.captioner(images))
        if not self.label_names:
            raise ValueError(
                "Expected words on the images: give label_names or a captioner to Prompts, or prompts to the "
                "call."
            )
        if len(labels) and int(labels.max()) >= len(self.label_names):
            raise ValueError(
                f"Expected a name for class {int(labels.max())}, got {len(self.label_names)} label_names."
            )
        return [self.template.format(self.label_names[label].replace("_", " ")) for label in labels.tolist()]

    @property
    def source(self) -> str:
        """Where prompts come from, as result rows note it."""
        return "captioner" if self.captioner is not None else self.template
