"""Samplers of a search by name: TPE, CMA-ES, random, and evolution, which mutates the best trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from saccade.engine.tune.space import Choice, Dimension, Range
from saccade.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from optuna.study import Study

__all__ = ["EvolutionSampler", "SamplerName", "make_sampler", "mutate"]

SamplerName = Literal["tpe", "cmaes", "evolve", "random"]


def make_sampler(name: str, space: Sequence[Dimension], trials: int, seed: int) -> BaseSampler:
    """Sampler by name.

    Args:
        name: ``tpe``, ``cmaes``, ``evolve`` or ``random``.
        space: The search space.
        trials: How many the whole search makes: TPE draws a third of them, at most ten, at random before it models.
        seed: Of its draws.

    Raises:
        ConfigError: If there is none of that name, or CMA-ES has fewer than two ranges to work on.

    Example:
        >>> type(make_sampler("evolve", [Range("optimizer.lr", 1e-4, 1e-2, log=True)], trials=20, seed=0)).__name__
        'EvolutionSampler'
    """
    if name not in get_args(SamplerName):
        raise ConfigError(f"--sampler is '{name}'.{did_you_mean(name, get_args(SamplerName))}")
    startup = max(2, min(10, trials // 3))
    if name == "cmaes":
        if sum(isinstance(one, Range) for one in space) < 2:
            raise ConfigError("--sampler cmaes needs two ranges or more; choices are drawn at random. Take tpe.")
        # Its first generation is centred on the middle of the space; choices are drawn at random.
        return CmaEsSampler(seed=seed, n_startup_trials=1, warn_independent_sampling=False)
    if name == "evolve":
        return EvolutionSampler(space, seed)
    if name == "random":
        return RandomSampler(seed)
    return TPESampler(n_startup_trials=startup, seed=seed, constant_liar=True)


def mutate(
    parent: Mapping[str, Any],
    space: Sequence[Dimension],
    rng: np.random.Generator,
    probability: float = 0.8,
    sigma: float = 0.2,
) -> dict[str, Any]:
    """A child of a trial: some of its values multiplied by random gains, all within the space.

    Each value is mutated with ``probability``, by the gain 1 + n * u * sigma with n normal and u uniform in 0..1, held
    to 0.3..3; draws are repeated until one value differs. A product never leaves 0 nor crosses it, so a value whose
    range reaches 0 or below moves by the same share of the range instead. A choice is replaced by another one in place
    of a gain, with the probability ``sigma``.

    Args:
        parent: Values by name, as the storage holds them.
        space: The search space.
        rng: Source of the draws.
        probability: With which a value is mutated.
        sigma: Largest deviation of a gain.

    Example:
        >>> space = [Range("optimizer.lr", 1e-4, 1e-2, log=True), Choice("data.batch_size", (8, 16))]
        >>> child = mutate({"optimizer.lr": 1e-3, "data.batch_size": 8}, space, np.random.default_rng(0))
        >>> 3e-4 <= child["optimizer.lr"] <= 3e-3, child["data.batch_size"] in (8, 16)
        (True, True)
    """
    child = dict(parent)
    for _ in range(1000):
        for one in space:
            mutated = rng.random() < probability
            change = rng.standard_normal() * rng.random() * sigma
            value = parent[one.name]
            if not mutated:
                child[one.name] = value
            elif isinstance(one, Choice):
                others = [label for label in one.labels if label != value]
                replaced = rng.random() < sigma
                child[one.name] = others[int(rng.integers(len(others)))] if replaced else value
            elif one.low > 0:
                child[one.name] = one.clip(value * min(max(1 + change, 0.3), 3.0))
            else:
                child[one.name] = one.clip(value + change * (one.high - one.low))
        if child != dict(parent):
            break
    return child


class EvolutionSampler(BaseSampler):
    """Evolution: each trial is a mutated copy of one of the best, drawn by its lead in fitness.

    The manner of YOLOv5's hyper-parameter evolution (its public description): of the trials so far the best few are
    possible parents, one is drawn with a weight of its fitness above the lowest of them, and mutated. Written anew.

    Args:
        space: The search space.
        seed: Of the draws.
        parents: Of how many best trials a parent is drawn.
        probability: With which a value is mutated.
        sigma: Largest deviation of a gain.

    Example:
        >>> import optuna
        >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
        >>> space = [Range("x", 0.1, 10.0)]
        >>> study = optuna.create_study(direction="maximize", sampler=EvolutionSampler(space, seed=0))
        >>> study.optimize(lambda trial: -abs(trial.suggest_float("x", 0.1, 10.0) - 2.0), n_trials=40)
        >>> abs(study.best_params["x"] - 2.0) < 0.2
        True
    """

    def __init__(
        self, space: Sequence[Dimension], seed: int, parents: int = 5, probability: float = 0.8, sigma: float = 0.2
    ) -> None:
        self.space = list(space)
        self.parents, self.probability, self.sigma = parents, probability, sigma
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed)

    def reseed_rng(self) -> None:
        """Draw differently from now on."""
        self._rng = np.random.default_rng()
        self._random.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The distributions of the trials so far."""
        for one in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if set(one.distributions) == {dimension.name for dimension in self.space}:
                return dict(one.distributions)
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Mutate one of the best; nothing while no trial is complete, so that all values are drawn at random."""
        if not search_space:
            return {}
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        finished = [one for one in finished if one.distributions.keys() == search_space.keys()]
        best = sorted(finished, key=lambda one: -(one.value or 0.0))[: self.parents]
        fitness = np.array([one.value for one in best], np.float64)
        weights = fitness - fitness.min() + 1e-6
        parent = best[int(self._rng.choice(len(best), p=weights / weights.sum()))]
        return mutate(parent.params, self.space, self._rng, self.probability, self.sigma)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw evenly from the range."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)
