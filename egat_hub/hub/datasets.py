"""The images that a saved model is evaluated on, checked against its metadata."""

from __future__ import annotations

import copy
import warnings

from egat_hub.core.config import from_dict
from egat_hub.core.registry import UnknownNameError
from egat_hub.data import DataChanges, DataConfig, Domain, EvaluationView, open_dataset
from egat_hub.hub.classifier import Classifier


def evaluation_images(
    classifier: Classifier,
    changes: DataChanges = DataChanges(),
    *,
    domain: str | None = None,
    split: str = "test",
) -> EvaluationView:
    """A split of a domain, at the model's image size.

    Args:
        classifier: a saved model.
        changes: settings that replace those of the training data.
        domain: domain of the images; default: the one that the model was trained on, or the only one.
        split: ``"train"``, ``"val"``, ``"test"`` or ``"all"``, which may lack some of the model's classes.

    Raises:
        ValueError: several domains to choose from, classes that the model lacks, or another split than in
            training, which would mix training images into the others.
    """
    metadata = classifier.metadata
    settings = metadata.get("data") or {"name": metadata.get("dataset", "")}
    if not settings["name"] and changes == DataChanges():
        raise ValueError("The model's metadata names no data set; name one (--data).")
    trained = from_dict(DataConfig, settings)
    config, home = changes.applied_to(trained), str(metadata.get("train_domain", ""))
    wanted = domain or home
    try:
        dataset = open_dataset(config, [wanted] if wanted else None, classes=classifier.label_names)
    except UnknownNameError:
        if domain:
            raise
        dataset = open_dataset(config, classes=classifier.label_names)
    if len(dataset) > 1:
        raise ValueError(
            f"Expected the name of a domain (--domain), one of {', '.join(dataset)}: "
            + (f"none is {home!r}, on which the model was trained." if home else "the model names none.")
        )
    chosen = dataset[dataset.domains[0]]
    if "data" in metadata and (chosen.dataset, chosen.name) == (trained.name, home):
        chosen = _compare(chosen, split, config, trained, metadata.get("images"))
    return EvaluationView(chosen, split, image_size=classifier.model.image_size)


def _compare(domain: Domain, split: str, config: DataConfig, trained: DataConfig, images: object) -> Domain:
    """Compare a domain with the training domain of the same name; other images get another name."""
    if config.synthetic_seed != trained.synthetic_seed:
        return domain
    if domain.stored and images not in (None, domain.images_digest):
        other = copy.copy(domain)
        other.name = f"{domain.name} (other images)"
        warnings.warn(
            f"{domain.dataset}/{domain.name} has other images than the model was trained on. They are "
            f"evaluated as the domain {other.name!r}; training images may be among them.",
            stacklevel=3,
        )
        return other
    changed = [
        f"{name} {getattr(trained, name)}"
        for name in ("split_seed", "synthetic_size")
        if getattr(trained, name) != getattr(config, name)
    ]
    if changed and split != "all":
        raise ValueError(
            f"The model was trained with {' and '.join(changed)}; with another one, the {split} split has "
            "images that the model was trained on. Leave the option out."
        )
    return domain
