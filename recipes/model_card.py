"""Add the card and results of a finished run to model_cards/, where the package finds them by name.

python recipes/model_card.py runs/pacs/<run> test_resnet.egat_pacs_photo \\
    --command "accelerate launch recipes/pacs.py --data-dir PACS --domains photo"

The command must train this model; it is parsed and compared with the run, not executed. Weights are added
only with --weights.
"""

import sys
from pathlib import Path

from jsonargparse import ArgumentParser

from egat_hub.core.options import Formatter
from egat_hub.experiments.keeping import keep_model

CARDS = Path(__file__).parents[1] / "egat_hub/hub/model_cards"


def main() -> None:
    """Parse the command line and add the model."""
    parser = ArgumentParser(description=__doc__, formatter_class=Formatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("name", type=str, help="name of the model")
    parser.add_argument("--command", type=str, required=True, help="command that trains the model")
    parser.add_argument("--repo-id", type=str, default="", help="organization/name on the Hub, if published")
    parser.add_argument("--revision", type=str, default="", help="commit on the Hub")
    parser.add_argument("--weights", action="store_true", help="ship the weights with the package")
    given = parser.parse_args()
    try:
        keep_model(
            given.run,
            CARDS / given.name,
            command=given.command,
            repo_id=given.repo_id,
            revision=given.revision,
            weights=given.weights,
        )
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"error: {error}")
    print(CARDS / given.name)


if __name__ == "__main__":
    main()
