"""Every family of timm as a backbone: its smallest network, wrapped and put through everything.

    python recipes/backbones.py --output docs/backbones.md
    python recipes/backbones.py --families cait xcit

Finished families are kept in a journal, so a run that was stopped goes on where it was. Networks are random
and nothing is downloaded. "refused" is a network without a map that decides; "fails" is anything else.
"""

from egat_hub.experiments.studies.families import main

if __name__ == "__main__":
    main(__doc__)
