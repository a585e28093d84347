"""The class whose map is judged."""

from __future__ import annotations

from typing import Literal

Target = Literal["predicted", "label"]
"""The ``"predicted"`` class of the clean image, or its ``"label"``."""
