"""Experiments are called by name, with seeds and nothing else."""

import inspect

from trainatlas.claims.experiments import EXPERIMENTS


def test_an_experiment_needs_seeds_alone() -> None:
    for name, experiment in EXPERIMENTS.items():
        seeds, *others = inspect.signature(experiment).parameters.values()
        assert seeds.name == "seeds", name
        assert all(other.default is not inspect.Parameter.empty for other in others), name
        assert experiment.__name__ == name
