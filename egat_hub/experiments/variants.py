"""Named variants of EGAT, and lists of runs over methods, domains and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from egat_hub.experiments.config import RunConfig
from egat_hub.methods import METHODS, AdversarialConfig, MethodConfig

ABLATION: Mapping[str, Mapping[str, Any]] = {
    "egat_without_egl": {"lambda_egl": 0.0},
    "egat_without_at": {"lambda_adv": 0.0},
    "egat_without_reg": {"lambda_reg": 0.0},
    "egat_only_egl": {"lambda_adv": 0.0, "lambda_reg": 0.0},
    "egat_only_at": {"lambda_egl": 0.0, "lambda_reg": 0.0},
    "egat_only_reg": {"lambda_adv": 0.0, "lambda_egl": 0.0},
}
"""Variants of EGAT for Table IV of its paper, which has the first two. Each keeps the classification loss."""

SENSITIVITY: Mapping[str, Mapping[str, Any]] = {
    "egat_smooth_grad": {"explanation": "smooth_grad"},
    "egat_integrated_gradients": {"explanation": "integrated_gradients"},
    "egat_finer_cam": {"explanation": "finer_cam"},
    "egat_input_gradient": {"explanation": "input_gradient"},
    "egat_noisy_guide_1": {"guide_noise": 0.1},
    "egat_noisy_guide_2": {"guide_noise": 0.5},
}
"""Variants of EGAT for Table III of its paper, which has all but the plain gradient. The noise is assumed."""

GOLDEN: Mapping[str, Mapping[str, Any]] = {"egat_mask_guide": {"guide": "mask"}}
"""The variant of Table III that needs object masks."""

VARIANTS: Mapping[str, Mapping[str, Any]] = {**ABLATION, **SENSITIVITY, **GOLDEN}
"""All variants of EGAT by name: the fields of its config that they change."""


def with_methods(
    base: RunConfig, names: Sequence[str], configs: Mapping[str, MethodConfig] | None = None
) -> list[RunConfig]:
    """``base`` with each of several methods.

    Args:
        base: run of any method.
        names: methods, variants of EGAT, ``"all"`` for all methods and the ablation, ``"ablation"`` and
            ``"sensitivity"`` for their variants with the methods that the paper compares them with, or
            ``"golden"`` for the variant that is guided by object masks.
        configs: settings by method; by default the methods' defaults.

    Raises:
        UnknownNameError: a name that does not exist.
    """
    groups = {
        "all": [*METHODS, *ABLATION],
        "ablation": ["erm", "egat", *ABLATION],
        "sensitivity": ["igr", "sgdrop", "egat", *SENSITIVITY],
        "golden": [*GOLDEN],
    }
    runs = []
    for name in dict.fromkeys(member for asked in names for member in groups.get(asked, [asked])):
        method = "egat" if name in VARIANTS else name
        config = (configs or {}).get(method) or METHODS[method].config_class()
        changed = replace(config, **VARIANTS.get(name, {}))
        runs.append(replace(base, method=method, method_config=changed, label=name))
    return runs


def over_domains_and_seeds(
    runs: Sequence[RunConfig], domains: Sequence[str], seeds: Sequence[int]
) -> list[RunConfig]:
    """The runs on every domain with every seed, ordered by seed so that comparisons are complete early."""
    return [replace(run, domain=domain, seed=seed) for seed in seeds for domain in domains for run in runs]


def with_epsilon(config: MethodConfig, epsilon: float) -> MethodConfig:
    """The config with an attack budget, if its method attacks."""
    return replace(config, epsilon=epsilon) if isinstance(config, AdversarialConfig) else config
