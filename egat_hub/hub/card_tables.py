"""Result rows as the Markdown tables of a model card."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tabulate import tabulate

from egat_hub.core.results import SANITY_CHECK, Row


class Section(NamedTuple):
    """A heading, what its figures mean, and a Markdown table."""

    title: str
    note: str
    table: str


class _Kind(NamedTuple):
    title: str
    note: str
    holds: Callable[[Row], bool]
    across: str | None = None


KINDS = (
    _Kind(
        "Clean accuracy",
        "Share of test images of the training domain that are classified correctly, in %.",
        lambda row: row.metric == "clean_accuracy" and row.test_domain == row.train_domain,
    ),
    _Kind(
        "Accuracy under unrestricted attack",
        "Share of test images that are classified correctly clean and after an attack on the latent of a "
        "diffusion model, in %, by the budget there; 0 is a mere reconstruction. Pixels are not "
        "bounded: pixel_linf and pixel_l2 say how far broken images moved on average. No figure here "
        "compares with one at an epsilon in pixels.",
        lambda row: row.protocol.get("budget_space") == "latent",
        "latent_epsilon",
    ),
    _Kind(
        "Accuracy under attack",
        "Share of test images that are classified correctly clean and under attack, in %, by epsilon; "
        "robust_accuracy_8bit: with the attacked images rounded to 8 bits a channel, within the ball.",
        lambda row: row.metric in ("robust_accuracy", "robust_accuracy_8bit"),
        "epsilon",
    ),
    _Kind(
        "Flags",
        "Signs that an attack was fooled, or that figures of explanations mean little, in % of the images; "
        "a value above its limit is a reason for distrust.",
        lambda row: row.metric == SANITY_CHECK,
        "check",
    ),
    _Kind(
        "Accuracy after each part of an attack",
        "Share of test images that is still classified correctly after the first attacks of a cascade, in %. "
        "What one broke, the next does not see; the last figure is that of the whole.",
        lambda row: row.metric == "robust_accuracy_after",
        "after",
    ),
    _Kind(
        "Accuracy under common corruptions",
        "Share of test images of the training domain that are classified correctly when corrupted, in %, by "
        "severity; mean_corruption_accuracy is the mean over corruptions and severities.",
        lambda row: row.metric in ("corruption_accuracy", "mean_corruption_accuracy"),
        "severity",
    ),
    _Kind(
        "Accuracy on other domains",
        "Share of images of domains never seen in training that are classified correctly, in %.",
        lambda row: row.metric == "clean_accuracy",
    ),
    _Kind(
        "Faithfulness of explanations",
        "Comprehensiveness (higher is better): by how much the class's probability falls when the most "
        "salient pixels are removed. Sufficiency (lower is better): by how much it falls when only they are "
        "kept. Both x100. Relative ones are relative to the probability, aopc means over shares. A map that "
        "explains the model differs from its controls.",
        lambda row: (
            row.metric
            in (
                "comprehensiveness",
                "sufficiency",
                "relative_comprehensiveness",
                "relative_sufficiency",
                "comprehensiveness_aopc",
                "sufficiency_aopc",
            )
        ),
        "map",
    ),
    _Kind(
        "Insertion and deletion",
        "Area under the class's probability while the most salient pixels appear first (insertion, higher is "
        "better) or go first (deletion, lower is better), x100.",
        lambda row: row.metric in ("insertion_auc", "deletion_auc"),
        "map",
    ),
    _Kind(
        "Localisation of explanations",
        "Agreement of maps with masks of the object, in %: the highest pixel hits it (pointing_game), share "
        "of the map on it (energy_inside), overlap of regions (mask_iou). mask_area is the object's share of "
        "the image. A bump in the centre scores high where objects are in the middle.",
        lambda row: row.metric in ("pointing_game", "energy_inside", "mask_iou", "mask_area"),
        "map",
    ),
    _Kind(
        "Stability of explanations",
        "Agreement of the maps of an image before and after the attack, by epsilon; 1 is full agreement. "
        "Also by whether the prediction was kept or flipped.",
        lambda row: row.metric == "stability",
        "epsilon",
    ),
    _Kind(
        "Explanations under attack",
        "Attacks on the explanation itself. explanation_attack_success, in %: maps moved with the prediction "
        "unchanged or, with keep_map, predictions flipped with the map unchanged; lower is better. "
        "flipped_predictions, in %: changed. map_stability: agreement of the maps, higher is better. "
        "flipped_stability: agreement of the maps of two different predictions; a high one hides the flip.",
        lambda row: (
            row.metric
            in ("explanation_attack_success", "flipped_predictions", "map_stability", "flipped_stability")
        ),
        "epsilon",
    ),
    _Kind(
        "Dead maps",
        "Share of maps that are constant and so explain nothing, in %; dead_map_pairs: constant before "
        "or after an attack, so that their agreement is not defined.",
        lambda row: row.metric in ("dead_maps", "dead_map_pairs"),
    ),
    _Kind("Other figures", "As named in the table.", lambda row: True),
)


def result_sections(rows: Iterable[Row]) -> list[Section]:
    """One section for every kind of figure among the rows; each row appears exactly once."""
    rest, sections = list(rows), []
    for kind in KINDS:
        chosen = [row for row in rest if kind.holds(row)]
        rest = [row for row in rest if not kind.holds(row)]
        if chosen:
            sections.append(Section(kind.title, kind.note, _pivot(chosen, kind.across)))
    return sections


def settings_table(settings: Mapping[str, Any]) -> str:
    """Nested settings as a Markdown table with dotted names."""
    return _markdown(("setting", "value"), list(_flatten(settings)))


def protocol_text(protocol: Mapping[str, Any]) -> str:
    """A protocol as one line of text."""
    return ", ".join(f"{key} {_text(value)}" for key, value in protocol.items())


def _pivot(rows: Sequence[Row], across: str | None) -> str:
    """Rows that differ only in ``protocol[across]`` share a line, one column for each of its values."""
    columns = list(dict.fromkeys(row.protocol.get(across) if across else None for row in rows))
    if all(isinstance(column, (int, float)) for column in columns):
        columns.sort()
    lines: dict[tuple[str, ...], dict[Any, list[str]]] = {}
    for row in rows:
        others = {key: value for key, value in row.protocol.items() if key != across}
        domains = f"{row.train_domain} -> {row.test_domain}"
        key = (row.metric, domains, row.split, str(row.n), str(row.seed), protocol_text(others))
        column = row.protocol.get(across) if across else None
        lines.setdefault(key, {}).setdefault(column, []).append(f"{row.value:.2f}")
    names = ["value" if column is None else f"{across} {_text(column)}" for column in columns]
    return _markdown(
        ("metric", "train -> test", "split", *names, "n", "seed", "protocol"),
        [
            (*key[:3], *(", ".join(values.get(column, ["-"])) for column in columns), *key[3:])
            for key, values in lines.items()
        ],
    )


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _markdown(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return tabulate(escaped, headers, tablefmt="github", disable_numparse=True)
