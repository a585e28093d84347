"""Accuracy under attacks as the budget grows (Fig. 2 of the EGAT paper), and from model to model.

accelerate launch recipes/attack_curves.py --data-dir PACS --config recipes/pacs_small.yaml
accelerate launch recipes/attack_curves.py --data synthetic --config recipes/demo.yaml
"""

from egat_hub.experiments.studies.attack_curves import main

if __name__ == "__main__":
    main("pacs", description=__doc__)
