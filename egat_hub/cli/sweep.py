"""``egat-hub sweep``."""

from __future__ import annotations

import dataclasses

from egat_hub.cli.main import Answer
from egat_hub.experiments.comparison import compare
from egat_hub.experiments.options import SweepOptions


def sweep(options: SweepOptions) -> Answer:
    """Train and compare methods over domains and seeds, in this process, on Ray, or on Slurm.

    The output folder gets tables, results.json, and a folder for each run. The same command skips finished
    runs and resumes those that were interrupted.

    example: egat-hub sweep --data vlcs --data.dir VLCS --methods erm egat --seeds 0 1 2 --executor ray
    """
    comparison = compare(options)
    rows = [dataclasses.asdict(row) for results in comparison.results for row in results.rows]
    return Answer(text=comparison.text, data={"output": str(comparison.output), "rows": rows})
