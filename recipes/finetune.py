"""Fine-tune a model on images of your own, and compare before and after (docs/finetuning.md).

    accelerate launch recipes/finetune.py --model org/resnet50.egat_vlcs --data-dir my_images
    accelerate launch recipes/finetune.py --model runs/demo/<run>/model --data synthetic --domain desert

It is the command `egat-hub finetune`, with the same options, on all processes that are launched.
"""

import sys

from egat_hub.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["finetune", *sys.argv[1:]]))
