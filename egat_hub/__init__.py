"""Robust and explainable image classifiers around any timm backbone."""
