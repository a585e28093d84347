"""Multi-domain image data: public benchmarks, any folder, Hub data sets, and generated images."""

from .benchmarks import BENCHMARKS, Benchmark
from .config import DataConfig
from .domains import Domain, MultiDomain
from .images import UnreadableImageError
from .loading import batch_positions, training_loader
from .sources import SOURCES, open_dataset
from .verify import verify
from .views import EvaluationView, TrainingView

__all__ = [
    "BENCHMARKS",
    "SOURCES",
    "Benchmark",
    "DataConfig",
    "Domain",
    "EvaluationView",
    "MultiDomain",
    "TrainingView",
    "UnreadableImageError",
    "batch_positions",
    "open_dataset",
    "training_loader",
    "verify",
]
