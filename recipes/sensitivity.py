"""EGAT with other explanations and guides (Table III of the EGAT paper).

accelerate launch recipes/sensitivity.py --data-dir VLCS --domains Caltech101
accelerate launch recipes/sensitivity.py --data synthetic --methods sensitivity golden
"""

from pathlib import Path

from egat_hub.experiments.command import main

PAPER = Path(__file__).parent / "paper"

if __name__ == "__main__":
    main("vlcs", description=__doc__, methods=("sensitivity",), paper=[PAPER / "table3.csv"])
