"""Terra Incognita: train on one camera, test on it and on the others (Tables I, IV of the EGAT paper).

accelerate launch recipes/terra_incognita.py --data.dir terra_incognita
accelerate launch recipes/terra_incognita.py --data synthetic --config recipes/demo.yaml
"""

from pathlib import Path

from egat_hub.core.options import run_command
from egat_hub.data import DataConfig
from egat_hub.experiments import SweepOptions, compare

PAPER = sorted((Path(__file__).parent / "paper").glob("table[14].csv"))


def terra_incognita(options: SweepOptions) -> None:
    """Compare the methods and print the tables, with the paper's results beside ours."""
    compare(options, PAPER).print()


if __name__ == "__main__":
    run_command(terra_incognita, description=__doc__, data=DataConfig("terra_incognita"))
