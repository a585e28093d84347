"""What the columns of a report mean, under which protocol."""

from __future__ import annotations

from collections.abc import Sequence

from egat_hub.card_tables import protocol_text
from egat_hub.results import Row

MEANINGS = {
    "cAcc": "clean accuracy on the test split; OOD is its mean over the test splits of other domains",
    "aAcc": "share that stays correct under the attack, by epsilon",
    "Comp": "fall of the probability without the most salient pixels, higher is better; random: a random map",
    "Suff": "fall of the probability with the most salient pixels alone, lower is better",
    "Stability": "share of the top 20 % pixels that stays under the attack, from 0 to 1",
    "Fooled": "share of maps that an attack on explanations moves off half of their top 20 % pixels with "
    "the prediction unchanged; with keep_map, of predictions that it flips with the map less changed",
    "Units": "passes of a batch through the network in a training step; a forward or a backward to the input "
    "counts 1, a backward to the weights 2, one through a backward 4",
    "TrainSeconds": "wall time of the training steps",
}


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
        found = [row for row in rows if row.metric == metric]
        protocols = {
            protocol_text({k: v for k, v in row.protocol.items() if k not in ("epsilon", "map", "measure")})
            for row in found
        }
        if found:
            protocol = f" ({'; '.join(sorted(protocols - {''}))})" if protocols - {""} else ""
            sentences.append(f"{metric}: {meaning}{protocol}.")
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
