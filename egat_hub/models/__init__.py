"""Any timm network in pixel space, and what makes attacks on it cheaper."""

from egat_hub.models.timm_model import TimmModel, create_model

__all__ = ["TimmModel", "create_model"]
