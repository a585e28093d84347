"""VLCS: train on one domain, test on it and on the others (Tables I, II, IV of the EGAT paper).

accelerate launch recipes/vlcs.py --data-dir VLCS
accelerate launch recipes/vlcs.py --data synthetic --config recipes/demo.yaml
"""

from pathlib import Path

from egat_hub.experiments.command import main

PAPER = Path(__file__).parent / "paper"

if __name__ == "__main__":
    main("vlcs", description=__doc__, paper=sorted(PAPER.glob("table[124].csv")))
