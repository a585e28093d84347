"""PACS: train on one domain, test on it and on the others (not in the EGAT paper).

accelerate launch recipes/pacs.py --data-dir PACS
accelerate launch recipes/pacs.py --data synthetic --config recipes/demo.yaml
"""

from egat_hub.experiments.command import main

if __name__ == "__main__":
    main("pacs", description=__doc__)
