"""Try every family of timm, and tell."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import timm

from egat_hub.experiments.families.outcome import append_outcome, read_outcomes
from egat_hub.experiments.families.table import put_table, summary
from egat_hub.experiments.families.trial import try_family


def main(description: str, arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, try the families that are not in the journal yet, and write the table.

    Args:
        description: for ``--help``.
        arguments: the command line; by default the program's.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = timm.list_modules()
    parser.add_argument("--families", nargs="+", default=known, metavar="FAMILY", help="all by default")
    parser.add_argument("--output", type=Path, help="page whose table is replaced")
    parser.add_argument(
        "--journal",
        type=Path,
        default=Path("runs/backbones.jsonl"),
        help="file of the outcomes so far, one a line; families in it are not tried again",
    )
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.families) - set(known))
    if unknown:
        parser.error(f"timm has no family {', '.join(unknown)}; there are {', '.join(known)}")
    if options.output and not options.output.is_file():
        parser.error(f"--output must be a page with a table, such as docs/backbones.md; no {options.output}")
    done = read_outcomes(options.journal, timm.__version__)
    for family in options.families:
        if family not in done:
            done[family] = try_family(family)
            append_outcome(options.journal, done[family])
        one = done[family]
        print(
            f"{family}: {one.model}, {one.image_size} px, {one.head_form}, {one.feature_layer}, {one.result}",
            flush=True,
        )
    print(summary(done[family] for family in options.families))
    if options.output:
        put_table(options.output, done.values())
