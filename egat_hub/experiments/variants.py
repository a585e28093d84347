"""What an experiment compares: methods with their settings, under the names they have in tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from egat_hub.core.config import from_dict
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
"""All variants of EGAT by name: what they change of its settings."""


@dataclass(frozen=True)
class Variant:
    """A method with its settings.

    Attributes:
        name: as tables call it.
        method: name of the method.
        config: its settings.
    """

    name: str
    method: str
    config: MethodConfig


def variants(names: Sequence[str], configs: Mapping[str, MethodConfig]) -> tuple[Variant, ...]:
    """The variants that are asked for.

    Args:
        names: methods, variants of EGAT, ``"all"`` for all methods and the ablation, ``"ablation"`` and
            ``"sensitivity"`` for their variants beside EGAT and what the paper compares them with, or
            ``"golden"`` for the variant that is guided by object masks.
        configs: settings of every method.

    Raises:
        UnknownNameError: a name that is neither.
    """
    groups = {
        "all": [*METHODS, *ABLATION],
        "ablation": ["erm", "egat", *ABLATION],
        "sensitivity": ["igr", "sgdrop", "egat", *SENSITIVITY],
        "golden": [*GOLDEN],
    }
    wanted = dict.fromkeys(name for asked in names for name in groups.get(asked, [asked]))
    return tuple(_variant(name, configs) for name in wanted)


def variant_of(method: str, options: Mapping[str, Any], epsilon: float) -> Variant:
    """A method under its own name.

    Args:
        method: its name.
        options: fields of its config.
        epsilon: the budget that it trains for, if it attacks.

    Raises:
        UnknownNameError: a method that does not exist.
        ValueError: a field that it does not have, a value out of its range, or an epsilon among the options.
    """
    if "epsilon" in options:
        raise ValueError("Give --epsilon; training and evaluation face the same attack.")
    return Variant(method, method, facing(epsilon, from_dict(METHODS[method].config_class, options)))


def facing(epsilon: float, config: MethodConfig) -> MethodConfig:
    """The config with a budget, where its method attacks."""
    return replace(config, epsilon=epsilon) if isinstance(config, AdversarialConfig) else config


def with_chosen(base: Sequence[Variant], chosen: Mapping[str, Variant]) -> tuple[Variant, ...]:
    """The variants with chosen settings; those of EGAT change the chosen EGAT."""
    configs = {variant.name: chosen.get(variant.name, variant).config for variant in base}
    return tuple(
        _variant(variant.name, configs)
        if variant.name in VARIANTS and "egat" in chosen
        else chosen.get(variant.name, variant)
        for variant in base
    )


def _variant(name: str, configs: Mapping[str, MethodConfig]) -> Variant:
    if name in VARIANTS:
        return Variant(name, "egat", replace(configs["egat"], **VARIANTS[name]))
    METHODS[name]
    return Variant(name, name, configs[name])
