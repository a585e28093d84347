"""Multi-domain image data: public benchmarks, folders, Hub data sets, and generated images."""

from egat_hub.data.config import BENCHMARKS, Benchmark, DataChanges, DataConfig
from egat_hub.data.domains import SOURCES, Domain, MultiDomain
from egat_hub.data.folder import open_folder
from egat_hub.data.images import UnreadableImageError
from egat_hub.data.loading import EvaluationView, TrainingView, batch_positions, training_loader
from egat_hub.data.sources import open_dataset, verify_images
from egat_hub.data.synthetic import open_synthetic

__all__ = [
    "BENCHMARKS",
    "SOURCES",
    "Benchmark",
    "DataChanges",
    "DataConfig",
    "Domain",
    "EvaluationView",
    "MultiDomain",
    "TrainingView",
    "UnreadableImageError",
    "batch_positions",
    "open_dataset",
    "open_folder",
    "open_synthetic",
    "training_loader",
    "verify_images",
]
