"""Experiments: many training runs, measured alike, compared in one table."""

from egat_hub.experiments.cell import Cell
from egat_hub.experiments.command import main
from egat_hub.experiments.experiment import Experiment, prepare, run

__all__ = ["Cell", "Experiment", "main", "prepare", "run"]
