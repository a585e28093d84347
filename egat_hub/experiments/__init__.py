"""Training runs, sweeps of them, and tables of their results."""

from egat_hub.experiments.config import ExtraAttack, RunConfig
from egat_hub.experiments.executors import ExecutorConfig
from egat_hub.experiments.options import SweepOptions
from egat_hub.experiments.runner import RunResults, run
from egat_hub.experiments.sweeps import compare, run_sweep, sweep

__all__ = [
    "ExecutorConfig",
    "ExtraAttack",
    "RunConfig",
    "RunResults",
    "SweepOptions",
    "compare",
    "run",
    "run_sweep",
    "sweep",
]
