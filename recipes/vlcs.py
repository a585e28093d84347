"""VLCS: train on one domain, test on it and on the others (Tables I, II, IV of the EGAT paper).

accelerate launch recipes/vlcs.py --data.dir VLCS
accelerate launch recipes/vlcs.py --data synthetic --config recipes/demo.yaml
"""

from pathlib import Path

from egat_hub.core.options import run_command
from egat_hub.data import DataConfig
from egat_hub.experiments import SweepOptions, compare

PAPER = sorted((Path(__file__).parent / "paper").glob("table[124].csv"))


def vlcs(options: SweepOptions) -> None:
    """Compare the methods and print the tables, with the paper's results beside ours."""
    compare(options, PAPER).print()


if __name__ == "__main__":
    run_command(vlcs, description=__doc__, data=DataConfig("vlcs"))
