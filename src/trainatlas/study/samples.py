"""The samples of a study: how each chooses which trials are run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainatlas.study.ranges import Seed, Seeds, Share, StrictModel, Whole

Metric = Literal["validation_accuracy", "best_validation_accuracy", "validation_loss"]
"""What settings are chosen by: accuracy at the end, that of the best epoch, or the loss at the end."""

Design = Literal["independent", "sobol", "latin_hypercube"]

Draws = Annotated[Whole, Field(ge=1, le=1_000_000)]


class GridSample(StrictModel):
    """Every combination of the factors' levels; each tuned on seeds of its own, then run on fresh ones.

    Attributes
    ----------
    tune
        How many evenly spaced values of the learning rate, and of the study's other parameters, each arm is tried at.
        A parameter that is not named stays at what the levels say.
    metric
        What an arm's best values are chosen by, in the mean over `tuning_seeds`.
    resolution
        Run a fraction of the combinations only, as small as can be found, in which any `resolution` - 1 factors show every
        combination of their levels equally often; None: all.
    """

    name: Annotated[str, Field(min_length=1)]
    strategy: Literal["grid"]
    tune: dict[str, Annotated[Whole, Field(ge=1, le=100)]]
    metric: Metric = "validation_accuracy"
    tuning_seeds: Seeds
    seeds: Seeds
    resolution: Literal[3, 4, 5] | None = None

    @property
    def seeds_by_use(self) -> dict[str, tuple[int, ...]]:
        """The sample's seeds, by what they are for."""
        return {"tuning": self.tuning_seeds, "final": self.seeds}

    @model_validator(mode="after")
    def _fresh_seeds(self) -> GridSample:
        if "learning_rate" not in self.tune:
            raise ValueError("tune: learning_rate is missing; allowed: how many rates each arm is tried at, such as 5")
        _refuse_shared("tuning_seeds", self.tuning_seeds, self.seeds)
        return self


class RandomSample(StrictModel):
    """Draws of a level of every factor, uniformly, of a learning rate and of the study's parameters, by their laws.

    Attributes
    ----------
    design
        "independent": every draw by itself. "sobol": a scrambled Sobol sequence (Sobol' 1967, Owen 1998), which fills the
        space evenly; best with a power of two of draws. "latin_hypercube" (McKay, Beckman and Conover 1979): every
        factor and parameter evenly by itself.
    """

    name: Annotated[str, Field(min_length=1)]
    strategy: Literal["random"]
    draws: Draws
    seeds: Seeds
    draw_seed: Seed = 0
    design: Design = "independent"

    @property
    def seeds_by_use(self) -> dict[str, tuple[int, ...]]:
        """The sample's seeds, by what they are for."""
        return {"final": self.seeds}


class Search(StrictModel):
    """A search in several rounds, each planned from what the rounds before it found.

    Attributes
    ----------
    metric
        What settings are compared by.
    seeds
        Draws take these in turn. With one, all settings meet the same split and the same data order.
    final_seeds
        Fresh seeds that the `winners` best settings are run on in the end; none: no such runs.
    """

    name: Annotated[str, Field(min_length=1)]
    metric: Metric = "validation_accuracy"
    seeds: Seeds
    draw_seed: Seed = 0
    final_seeds: Seeds | tuple[()] = ()
    winners: Annotated[Whole, Field(ge=1, le=100)] = 1

    @property
    def seeds_by_use(self) -> dict[str, tuple[int, ...]]:
        """The sample's seeds, by what they are for."""
        return {"search": self.seeds, "final": self.final_seeds}

    @model_validator(mode="after")
    def _fresh_seeds(self) -> Search:
        _refuse_shared("seeds", self.seeds, self.final_seeds)
        return self


class CoarseToFine(Search):
    """Random draws of few epochs over wide ranges, then draws of the study's epochs over the region found.

    Attributes
    ----------
    draws, fine_draws
        Of a coarse stage, and of the fine one; as many where left out.
    coarse_epochs
        Epochs of a coarse draw, fewer than the study's.
    keep
        Share of the coarse draws, best first, whose values span the region of the fine stage.
    extensions
        How often at most the coarse stage is repeated, over a longer range, because the best draw lies within a
        tenth of a range's end.
    """

    strategy: Literal["coarse_to_fine"]
    draws: Draws
    fine_draws: Draws | None = None
    coarse_epochs: Annotated[Whole, Field(ge=1)]
    keep: Share = 0.2
    extensions: Annotated[Whole, Field(ge=0, le=5)] = 0
    design: Design = "independent"

    @model_validator(mode="after")
    def _enough(self) -> CoarseToFine:
        if self.draws * self.keep < 2:
            raise ValueError(
                f"draws is {self.draws}, of which keep {self.keep:g} leaves fewer than 2 to span a region; "
                f"allowed: at least {-(-2 // self.keep):.0f}"
            )
        return self


class SuccessiveHalving(Search):
    """Many draws of few epochs, of which the best go on, again and again (Jamieson and Talwalkar 2016).

    A trial that goes on continues from its weights. Learning-rate schedules are those of the study's epochs from the start.

    Attributes
    ----------
    first_epochs
        Epochs of the first rung; each further one has `reduction` times as many, the last the study's.
    reduction
        One in so many goes on.
    """

    strategy: Literal["successive_halving"]
    draws: Draws
    first_epochs: Annotated[Whole, Field(ge=1)]
    reduction: Annotated[Whole, Field(ge=2, le=100)] = 3
    design: Design = "independent"

    def rungs(self, epochs: int) -> list[tuple[int, int]]:
        """Return each rung's (trials, epochs), the last one's being `epochs`."""
        found = [(self.draws, self.first_epochs)]
        while found[-1][1] * self.reduction < epochs:
            found.append((found[-1][0] // self.reduction, found[-1][1] * self.reduction))
        return [*found, (found[-1][0] // self.reduction, epochs)]


class Bayesian(Search):
    """Draws that a tree-structured Parzen estimator proposes, batch by batch (Bergstra et al. 2011; Optuna).

    Attributes
    ----------
    draws
        In all.
    batch
        Draws proposed at once, from what all batches before them found: few learn sooner, many train faster.
    startup
        Draws that are made at random, before the estimator has something to go by.
    """

    strategy: Literal["bayesian"]
    draws: Draws
    batch: Annotated[Whole, Field(ge=1)]
    startup: Annotated[Whole, Field(ge=1)] = 20

    @model_validator(mode="after")
    def _enough(self) -> Bayesian:
        if self.startup >= self.draws:
            raise ValueError(
                f"draws is {self.draws}, all of them made at random before startup {self.startup} is over; "
                f"allowed: more than startup"
            )
        return self


AnySearch = CoarseToFine | SuccessiveHalving | Bayesian
Sample = Annotated[GridSample | RandomSample | AnySearch, Field(discriminator="strategy")]
STRATEGIES: dict[str, type[StrictModel]] = {
    "grid": GridSample,
    "random": RandomSample,
    "coarse_to_fine": CoarseToFine,
    "successive_halving": SuccessiveHalving,
    "bayesian": Bayesian,
}


def _refuse_shared(name: str, first: tuple[int, ...], final: tuple[int, ...]) -> None:
    shared = sorted(set(first) & set(final))
    if shared:
        raise ValueError(f"seeds {shared} also stand in {name}; allowed: seeds not used for tuning")
