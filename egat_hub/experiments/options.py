"""Options that commands and recipes share, and the runs that they describe."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import yaml

from egat_hub.core.files import atomic_write_text
from egat_hub.core.options import Group
from egat_hub.data import DataConfig, MultiDomain, open_dataset
from egat_hub.evaluation import EvaluationConfig
from egat_hub.experiments.config import ExtraAttack, RunConfig, over_domains_and_seeds, with_methods
from egat_hub.experiments.executors import ExecutorConfig
from egat_hub.methods import METHODS, AdversarialConfig, MethodConfig
from egat_hub.models import ModelConfig
from egat_hub.training import FinetuneConfig, Resources, TrainConfig


def _method_configs() -> dict[str, type[MethodConfig]]:
    return {name: METHODS[name].config_class for name in METHODS}


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options shared by ``train``, ``finetune``, ``sweep`` and the recipes.

    ``epsilon`` replaces that of the methods, so that training and evaluation use the same budget.

    Attributes:
        data: data set.
        model: timm network or saved model to start from.
        train: how the model is trained.
        finetune: how the layers below the head are trained.
        evaluation: what is measured.
        extra_attacks: further attacks on the test images, such as '[{attack: auto_attack, images: 500}]'.
        epsilon: radius of the attack in training and evaluation, in [0, 1].
        epsilons: further radii for the evaluation.
        resources: loading, logging, saving.
        output: output folder; by default in runs.
        configs: options of the methods, such as --egat.attack_steps 5.
    """

    data: DataConfig = DataConfig(name="folder")
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    evaluation: Annotated[EvaluationConfig, Group(skip=frozenset({"epsilons"}))] = EvaluationConfig()
    extra_attacks: tuple[ExtraAttack, ...] = ()
    epsilon: float = 0.01
    epsilons: tuple[float, ...] = ()
    resources: Resources = Resources()
    output: Path | None = None
    configs: Annotated[Mapping[str, MethodConfig], Group(frozenset({"epsilon"}), _method_configs)] = field(
        default_factory=dict
    )

    def run_config(self, method: str, domain: str, seed: int) -> RunConfig:
        """A run of a method on a domain.

        Raises:
            UnknownNameError: a method that does not exist.
            ValueError: an epsilon outside [0, 1].
        """
        return RunConfig(
            method=method,
            method_config=self.method_configs().get(method) or METHODS[method].config_class(),
            data=self.data,
            domain=domain,
            seed=seed,
            model=self.model,
            train=replace(self.train, mixed_precision=_precision(self.train.mixed_precision)),
            finetune=self.finetune,
            evaluation=replace(self.evaluation, epsilons=tuple(sorted({self.epsilon, *self.epsilons}))),
            extra_attacks=tuple(
                attack if attack.epsilons else replace(attack, epsilons=(self.epsilon,))
                for attack in self.extra_attacks
            ),
        )

    def method_configs(self) -> dict[str, MethodConfig]:
        """Settings by method, with the budget of the attack."""
        return {
            name: replace(config, epsilon=self.epsilon) if isinstance(config, AdversarialConfig) else config
            for name, config in self.configs.items()
        }

    def save(self, path: Path) -> None:
        """Write the options as YAML that ``--config`` reads."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        values |= values.pop("configs")
        for name in self.configs:
            values[name].pop("epsilon", None)
        del values["evaluation"]["epsilons"]
        values["train"]["mixed_precision"] = _precision(self.train.mixed_precision)
        atomic_write_text(path, yaml.safe_dump(values, sort_keys=False))


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RunOptions):
    """Options of ``egat-hub train``.

    Attributes:
        method: training method: egat, pgd_at, trades, erm...
        domain: domain to train on; needed if there are several.
        seed: seed of weights, batches, dropout, attacks and mixup.
    """

    method: str = "egat"
    domain: str | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class SweepOptions(RunOptions):
    """Options of ``egat-hub sweep`` and of the recipes that compare methods.

    Attributes:
        methods: methods to compare, variants of EGAT, or one of the groups 'all', 'ablation', 'sensitivity'
            and 'golden'.
        domains: domains to train on; all by default.
        test_domains: further domains to test on; all by default.
        seeds: seeds; one run for each.
        search: YAML file 'method: {field: [values]}'; the best values on validation data are used.
        executor: where the runs execute.
    """

    methods: tuple[str, ...] = ("erm", "pgd_at", "trades", "egat")
    domains: tuple[str, ...] = ()
    test_domains: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    search: Path | None = None
    executor: ExecutorConfig = ExecutorConfig()

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return self.output or Path("runs") / self.data.name.replace("/", "--")

    def open_dataset(self) -> MultiDomain:
        """Open the data set with the needed domains, without decoding images."""
        named = [*self.domains, *self.test_domains] if self.domains and self.test_domains else None
        return open_dataset(self.data, named, verify=False)

    def runs(self, dataset: MultiDomain) -> list[RunConfig]:
        """A run of every method on every domain with every seed.

        Raises:
            UnknownNameError: a method or domain that does not exist.
            ValueError: no method or no seed.
        """
        domains = [dataset[name].name for name in self.domains or dataset.domains]
        base = replace(
            self.run_config("erm", domains[0], 0),
            test_domains=tuple(dataset[name].name for name in self.test_domains or dataset.domains),
        )
        methods = with_methods(base, self.methods, self.method_configs())
        runs = over_domains_and_seeds(methods, domains, self.seeds)
        if not runs:
            raise ValueError("Expected at least one method and one seed.")
        return runs


def _precision(chosen: str | None) -> Any:
    """The chosen precision, else that of ``accelerate launch``; it is part of a run's identity."""
    return chosen or os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
