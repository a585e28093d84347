"""The images that a saved model is judged on, checked against what the model says of itself."""

from __future__ import annotations

from egat_hub.data import DataConfig, EvaluationView, open_dataset
from egat_hub.hub.classifier import Classifier


def evaluation_images(
    classifier: Classifier, data: DataConfig, *, domain: str | None = None, split: str = "test"
) -> EvaluationView:
    """A split of a domain, at the size that the model has.

    Args:
        classifier: a saved model.
        data: a data set with the model's classes; its ``image_size`` does not count.
        domain: domain of the images; by default the one that the model was trained on, or the only one.
        split: ``"train"``, ``"val"``, ``"test"`` or ``"all"``.

    Raises:
        ValueError: several domains to choose from, other classes than the model's, or another split than
            the one that the model was trained on, which would mix training images into the others.
    """
    told = classifier.metadata
    wanted = domain or told.get("train_domain")
    dataset = open_dataset(data, [wanted] if wanted else None)
    if len(dataset) > 1:
        raise ValueError(
            "The model does not say what it was trained on; name the domain of the images, one of "
            f"{', '.join(dataset)}."
        )
    if dataset.classes != classifier.label_names:
        raise ValueError(
            f"Expected the model's classes, {', '.join(classifier.label_names)}; the data set has "
            f"{', '.join(dataset.classes)}. Classes must agree in name and order."
        )
    chosen = dataset[dataset.domains[0]]
    if chosen.name == told.get("train_domain") and split != "all":
        _check_split(told.get("data", {}), data)
    return EvaluationView(chosen, split, image_size=classifier.model.image_size)


def _check_split(trained: dict[str, object], data: DataConfig) -> None:
    """Refuse the images of training in another partition."""
    if any(trained.get(name) != getattr(data, name) for name in ("name", "synthetic_seed")):
        return
    fields = ("split_seed", "synthetic_size") if data.name == "synthetic" else ("split_seed",)
    other = [f"{name} {trained[name]}" for name in fields if trained.get(name) != getattr(data, name)]
    if other:
        raise ValueError(
            f"The model was trained with {' and '.join(other)}; with another one, images that it was trained "
            "on would be among the others. Give the same."
        )
