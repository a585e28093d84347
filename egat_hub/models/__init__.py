"""Any timm network in pixel space, and what makes attacks on it cheaper."""

from egat_hub.models.factory import ModelConfig, create_model
from egat_hub.models.timm_model import TimmModel, unwrap

__all__ = ["ModelConfig", "TimmModel", "create_model", "unwrap"]
