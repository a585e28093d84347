"""Robust accuracy against training time, as adversarial methods train with cheaper attacks.

accelerate launch recipes/pareto.py --data-dir PACS --methods pgd_at trades --domains photo --seeds 0 1 2
accelerate launch recipes/pareto.py --data synthetic --config recipes/demo.yaml --methods pgd_at
"""

from egat_hub.experiments.studies.pareto import main

if __name__ == "__main__":
    main("pacs", description=__doc__)
