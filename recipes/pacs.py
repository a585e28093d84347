"""PACS: train on one domain, test on it and on the others (not in the EGAT paper).

accelerate launch recipes/pacs.py --data.dir PACS
accelerate launch recipes/pacs.py --data synthetic --config recipes/demo.yaml
"""

from egat_hub.core.options import run_command
from egat_hub.data import DataConfig
from egat_hub.experiments import SweepOptions, compare


def pacs(options: SweepOptions) -> None:
    """Compare the methods and print the tables."""
    compare(options).print()


if __name__ == "__main__":
    run_command(pacs, description=__doc__, data=DataConfig("pacs"))
