"""EGAT with other explanations and other guides (Table III of the EGAT paper).

accelerate launch recipes/sensitivity.py --data.dir VLCS --domains Caltech101
accelerate launch recipes/sensitivity.py --data synthetic --methods sensitivity golden
"""

from pathlib import Path

from egat_hub.core.options import run_command
from egat_hub.data import DataConfig
from egat_hub.experiments import SweepOptions, compare

PAPER = [Path(__file__).parent / "paper" / "table3.csv"]


def sensitivity(options: SweepOptions) -> None:
    """Compare variants of EGAT and print the tables, with the paper's results beside ours."""
    compare(options, PAPER).print()


if __name__ == "__main__":
    run_command(sensitivity, description=__doc__, data=DataConfig("vlcs"), methods=("sensitivity",))
