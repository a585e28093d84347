"""Every family of timm as a backbone: what works, what is refused, what fails."""

from egat_hub.experiments.families.command import main

__all__ = ["main"]
