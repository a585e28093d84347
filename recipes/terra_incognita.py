"""Terra Incognita: train on one camera, test on it and on the others (Tables I, IV of the EGAT paper).

accelerate launch recipes/terra_incognita.py --data-dir terra_incognita
accelerate launch recipes/terra_incognita.py --data synthetic --config recipes/demo.yaml
"""

from pathlib import Path

from egat_hub.experiments.command import main

PAPER = Path(__file__).parent / "paper"

if __name__ == "__main__":
    main("terra_incognita", description=__doc__, paper=sorted(PAPER.glob("table[14].csv")))
