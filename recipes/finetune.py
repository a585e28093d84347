"""Fine-tune a model on your own images, and compare it before and after (docs/finetuning.md).

    accelerate launch recipes/finetune.py --model org/resnet50.egat_vlcs --data.dir my_images
    accelerate launch recipes/finetune.py --model runs/demo/<run>/model --data synthetic --domain desert

The command `egat-hub finetune` with the same options, on all launched processes.
"""

import sys

from egat_hub.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["finetune", *sys.argv[1:]]))
