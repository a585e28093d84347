"""The recipes parse, and so do the files beside them."""

from __future__ import annotations

import csv
import runpy
import sys
from pathlib import Path

import pytest
import torch

from egat_hub.data import BENCHMARKS, DataConfig
from egat_hub.methods import METHODS

from .tiny import parsed

RECIPES = Path(__file__).parents[2] / "recipes"
BENCHMARK_OF = {"fronts": "pacs", "attack_curves": "pacs", "pareto": "pacs", "sensitivity": "vlcs"}
SCRIPTS = sorted(p for p in RECIPES.glob("*.py") if "main(\"" in p.read_text())
