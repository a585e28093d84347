"""Clean accuracy and faithfulness against robust accuracy, as methods trade one for the other.

accelerate launch recipes/fronts.py --data-dir PACS --methods egat trades pgd_at --domains photo --seeds 0 1
accelerate launch recipes/fronts.py --data synthetic --config recipes/demo.yaml
"""

from egat_hub.experiments.studies.fronts import main

if __name__ == "__main__":
    main("pacs", description=__doc__)
