"""What the columns of a report mean, under which protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from egat_hub.card_tables import protocol_text
from egat_hub.engine.control_flags import CAUTIONS
from egat_hub.experiments.tables.headline import COMPARED, headline
from egat_hub.results import FLAG, Row, flags_raised

MEANINGS = {
    "cAcc": "clean accuracy on the test split; OOD is its mean over the test splits of other domains",
    "aAcc": "share that stays correct under the attack, by epsilon",
    "mCA": "accuracy under common corruptions, mean over families and severities",
    "Comp": "fall of the probability without the most salient pixels, higher is better; random: a random map",
    "Suff": "fall of the probability with the most salient pixels alone, lower is better",
    "CompRel": "Comp in percent of the probability p that there is to lose",
    "SuffRel": "Suff in percent of the same",
    "CompAOPC": "mean of Comp over the shares",
    "SuffAOPC": "mean of Suff over the shares",
    "InsertionAUC": "area under the probability while the most salient pixels appear first, higher is better",
    "DeletionAUC": "area under it while they go first, lower is better",
    "Pointing": "share of maps whose highest pixel is on the object or within the tolerance of it; centre: a "
    "bump in the middle",
    "EnergyInside": "share of the map that is on the object",
    "MaskIoU": "intersection over union of the object and the map's region",
    "MaskArea": "share of the image that is object",
    "Stability": "agreement of the map before and after the attack, 1 is full; in the first table the share "
    "of the top 20 % pixels that stays; kept, flipped: by what became of the prediction",
    "Fooled": "share of maps that an attack on explanations moves off half of their top 20 % pixels with "
    "the prediction unchanged; with keep_map, of predictions that it flips with the map less changed",
    "Units": "passes of a batch through the network in a training step; a forward or a backward to the input "
    "counts 1, a backward to the weights 2, one through a backward 4",
    "TrainSeconds": "wall time of the training steps",
}

ACROSS = {"epsilon", "latent_epsilon"} | COMPARED
"""What a column's title tells of a protocol."""


def legend(rows: Sequence[Row], *, published: bool, suspect: bool, intervals: bool) -> list[str]:
    """Sentences on seeds, selection, metrics with their protocols, published figures and intervals."""
    seeds = sorted({row.seed for row in rows})
    several = (
        ", mean ± standard deviation over seeds of one and the same split; bold where the best leads the "
        "second by more than the larger of both deviations"
    )
    several += "; n where a cell has fewer seeds than others"
    sentences = [f"Percent; seeds {', '.join(map(str, seeds))}{several if len(seeds) > 1 else ''}."]
    rules = sorted({row.selection for row in rows} - {""})
    sentences += [f"Weights kept of a run: {', '.join(rules)}."] if rules else []
    for metric, meaning in MEANINGS.items():
        found = [row for row in headline(rows) if row.metric == metric]
        protocols = {
            protocol_text({k: v for k, v in row.protocol.items() if k not in ACROSS}) for row in found
        }
        if found:
            protocol = f" ({'; '.join(sorted(protocols - {''}))})" if protocols - {""} else ""
            sentences.append(f"{metric}: {meaning}{protocol}.")
    sentences += [*_flags(rows), *_cautions(rows)]
    if any(row.protocol.get("budget_space") == "latent" for row in rows):
        sentences.append(
            "latent_epsilon bounds the latent of a diffusion model and no pixel: it compares with no epsilon."
        )
    if published:
        sentences.append(
            "In brackets: the figure of the paper under its own protocol, whose epsilon is not legible."
        )
    if suspect:
        sentences.append(
            "Question mark: the paper repeats this accuracy to the last digit with training and test domain "
            "exchanged, which two separately trained networks do not do."
        )
    if intervals:
        sentences.append(
            "Differences: mean over images of the mean over seeds; from, to: percentile interval of a paired "
            "bootstrap over test images (10000 resamples), which says nothing about other seeds."
        )
    return sentences


def _flags(rows: Sequence[Row]) -> Iterator[str]:
    """Signs that an attack was fooled: what was looked for and what was found."""
    flags = [row for row in rows if row.metric == FLAG and row.protocol["flag"] not in CAUTIONS]
    if flags:
        raised = [
            f"{row.method} on {row.train_domain}, seed {row.seed}: {row.protocol['flag']} {row.value:.1f} "
            f"(at most {row.protocol['limit']:g} is sound)"
            for row in flags_raised(flags)
        ]
        looked_for = ", ".join(dict.fromkeys(row.protocol["flag"] for row in flags))
        found = f"raised: {'; '.join(raised)}" if raised else "none was raised"
        yield f"Flags, signs that an attack was fooled ({looked_for}): {found}."


def _cautions(rows: Sequence[Row]) -> Iterator[str]:
    """What the flags that were raised about controls mean, and for which methods."""
    for flag, caution in CAUTIONS.items():
        found = [row for row in rows if row.metric == FLAG and row.protocol["flag"] == flag]
        runs = {
            method: [row for row in found if row.method == method] for method in {r.method for r in found}
        }
        raised = [
            f"{method} in {count} of {len(mine)} runs"
            for method, mine in sorted(runs.items())
            if (count := len(flags_raised(mine)))
        ]
        if raised:
            yield f"Caution: {caution} ({', '.join(raised)})."
