"""Multi-domain image data: public benchmarks, folders, Hub data sets, and generated images."""

from egat_hub.data.config import BENCHMARKS, Benchmark, DataConfig
from egat_hub.data.domains import Domain, MultiDomain
from egat_hub.data.images import UnreadableImageError
from egat_hub.data.loading import batch_positions, training_loader
from egat_hub.data.sources import SOURCES, open_dataset
from egat_hub.data.verify import verify
from egat_hub.data.views import EvaluationView, TrainingView

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
