"""Training runs, sweeps of them, and tables of what they measured."""

from egat_hub.experiments.cell import Cell
from egat_hub.experiments.command import main
from egat_hub.experiments.experiment import Experiment, prepare, run

__all__ = ["Cell", "Experiment", "main", "prepare", "run"]
