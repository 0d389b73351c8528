"""What can be told early in a run: whether a few epochs rank settings rightly, whether a loss that soars is a lost run.

Both are answered on runs that went to the end of their budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from trainatlas.analysis.columns import ABORT_COLUMNS, SCREENING_COLUMNS
from trainatlas.analysis.intervals import CONFIDENCE, wilson
from trainatlas.analysis.order import TrialOrder
from trainatlas.analysis.search import search_accuracy
from trainatlas.optim.regularisation import largest_loss_of
from trainatlas.train.records import names

SCREENED_TRIALS = 5_000
"""Trials of a stage whose accuracy after each epoch is looked at, at most: the first by trial id, which is a digest."""
SCREENED_EPOCHS = 12
"""Epochs that are looked at, at most: all, or in even steps on a log scale."""
SEARCHES, SEARCH_TRIALS = 1_000, 32
"""Searches that are screened, and the trials of each: at most so many, and at most half of a seed's."""
KEPT = {"half": 1 / 2, "third": 1 / 3}
"""Shares of a search that go on after screening."""
RESAMPLES = 200
RISES = (1.5, 2.0, 3.0, 5.0, 10.0)
"""How many times its first value the loss exceeds where the rule stops a run; 3 is the rule of the textbooks."""
NEAR = 0.05
"""A run has recovered when its accuracy is within so much of its sample's median."""


class Progress:
    """Collects from a study's curves what screening needs, as they pass by.

    Parameters
    ----------
    trials
        All trials: `trial_id`, `stage`, `epochs` and `first_train_loss`.
    """

    def __init__(self, trials: pd.DataFrame) -> None:
        self._order = TrialOrder(trials["trial_id"])
        first = np.full(len(self._order), np.nan)
        first[self._order.positions(trials["trial_id"])] = trials["first_train_loss"]
        self._first, self._rises = first, np.full(len(self._order), -np.inf)
        searched = trials[trials["stage"].isin(["tuning", "random"])].sort_values("trial_id")
        self._screened = TrialOrder(searched.groupby("stage").head(SCREENED_TRIALS)["trial_id"])
        self._epochs = looked_at(_budget(trials))
        self._readings: list[pd.DataFrame] = []

    def passing(self, parts: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """Yield the parts of curves.csv as they are, and take note of them."""
        for part in parts:
            self._take(part)
            yield part

    def _take(self, part: pd.DataFrame) -> None:
        batches = part[part["split"] == "train_batch"]
        places = self._order.positions(batches["trial_id"])
        known = places >= 0
        np.fmax.at(
            self._rises, places[known], batches["loss"].to_numpy(dtype=float)[known] / self._first[places[known]]
        )
        ends = part[(part["split"] == "validation") & part["epoch"].isin(self._epochs)]
        ends = ends[self._screened.positions(ends["trial_id"]) >= 0]
        readings = ends[["trial_id", "epoch", "accuracy"]]
        self._readings.append(readings.astype({"epoch": "int64"}).reset_index(drop=True))

    @property
    def epochs(self) -> pd.DataFrame:
        """Validation accuracy after whole epochs: trial_id, epoch and accuracy."""
        return pd.concat(self._readings, ignore_index=True)

    @property
    def rises(self) -> pd.DataFrame:
        """The largest loss of a minibatch over the first one's, for each trial that has any: trial_id and rise."""
        known = np.flatnonzero(np.isfinite(self._rises))
        return pd.DataFrame({"trial_id": self._order.ids(known), "rise": self._rises[known]})


def _budget(trials: pd.DataFrame) -> int:
    return int(trials["epochs"].max()) if len(trials) else 0


def looked_at(epochs: int) -> list[int]:
    """Return the epochs of a budget that screening looks at, the last among them."""
    if epochs <= SCREENED_EPOCHS:
        return list(range(1, epochs + 1))
    return sorted(set(np.geomspace(1, epochs, SCREENED_EPOCHS).round().astype(int).tolist()))


def screening(trials: pd.DataFrame, epochs: pd.DataFrame, chance: float, seed: int = 0) -> pd.DataFrame:
    """Compare the order of trials after each epoch with their final order, within each seed; means over seeds.

    Parameters
    ----------
    trials
        All trials; tuning runs and random draws are looked at.
    epochs
        Their validation accuracy after whole epochs (see `Progress.epochs`). A run that has ended keeps its last
        accuracy; one that was lost counts with no more than `chance` from then on.

    Returns
    -------
    pandas.DataFrame
        SCREENING_COLUMNS. Spearman's rho with percentile intervals over trials drawn with replacement within each seed (Efron
        1979); Kendall's tau-b with Fisher's transformation and variance 0.437 / (n - 4) (Fieller, Hartley and Pearson
        1957). Regret: what a search of `searched` trials loses of its best final validation accuracy when only a
        share of them, the best after this epoch, goes on; trials are drawn without replacement from those of a seed.
    """
    columns = list(names(SCREENING_COLUMNS))
    rows: list[tuple[object, ...]] = []
    generator = np.random.default_rng(seed)
    budget = _budget(trials)
    shown = looked_at(budget)[:-1]
    for stage in ("tuning", "random") if shown else ():
        own = trials[trials["stage"] == stage].sort_values("trial_id").head(SCREENED_TRIALS)
        groups = [_accuracies(group, epochs, shown, chance) for _, group in own.groupby("seed") if len(group) > 4]
        if not groups:
            continue
        searched = min(SEARCH_TRIALS, *(-(-len(final) // 2) for _, final in groups))
        searches = [_searches(final, searched, -(-SEARCHES // len(groups)), generator) for _, final in groups]
        for epoch in shown:
            pairs = [(table[epoch].to_numpy(), final) for table, final in groups]
            regrets = []
            for share in KEPT.values():
                lost = np.concatenate(
                    [_regret(early, final, drawn, share) for (early, final), drawn in zip(pairs, searches, strict=True)]
                )
                regrets += [lost.mean(), float(np.quantile(lost, 0.95, method="inverted_cdf"))]
            count = sum(len(final) for _, final in groups)
            correlations = (*_spearman(pairs, generator), *_kendall(pairs))
            rows.append((stage, epoch, budget, *correlations, searched, *regrets, len(groups), count))
    return pd.DataFrame(rows, columns=columns)


def _accuracies(
    group: pd.DataFrame, epochs: pd.DataFrame, shown: Sequence[int], chance: float
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the accuracies of one seed's trials after each epoch shown, a column an epoch, and at the end."""
    final = search_accuracy(group, chance).to_numpy(dtype=float)
    own = epochs[epochs["trial_id"].isin(group["trial_id"])].astype({"trial_id": "str"})
    table = own.pivot(index="trial_id", columns="epoch", values="accuracy").astype("float64")
    table = table.reindex(index=group["trial_id"], columns=list(shown))
    lost = table.isna().to_numpy() & ~group["status"].isin(["ok", "stopped_early"]).to_numpy()[:, None]
    return pd.DataFrame(np.where(lost, final[:, None], table.ffill(axis=1).fillna(0.0)), columns=table.columns), final


def _searches(final: np.ndarray, searched: int, number: int, generator: np.random.Generator) -> np.ndarray:
    """Return which trials each search has, shape (number, searched)."""
    return np.stack([generator.permutation(len(final))[:searched] for _ in range(number)])


def _regret(early: np.ndarray, final: np.ndarray, drawn: np.ndarray, share: float) -> np.ndarray:
    """Return what each search loses of its best final accuracy; ties at the early look fall as trials were drawn."""
    kept = np.argsort(-early[drawn], axis=1, kind="stable")[:, : int(np.ceil(share * drawn.shape[1]))]
    ends = final[drawn]
    result: np.ndarray = ends.max(axis=1) - np.take_along_axis(ends, kept, axis=1).max(axis=1)
    return result


def weighted_spearman(a: np.ndarray, b: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation of trials that each count a number of times; ties share the mean rank.

    Parameters
    ----------
    a, b
        Shape (trials,).
    times
        How often each trial counts, shape (..., trials).

    Returns
    -------
    numpy.ndarray
        Shape (...,); nan where all trials that count have the same value.
    """
    total = times.sum(axis=-1, keepdims=True)
    ranks = [_centred_ranks(values, times, total) for values in (a, b)]
    (var_a, var_b), both = (
        [(times * rank**2).sum(axis=-1) for rank in ranks],
        (times * ranks[0] * ranks[1]).sum(axis=-1),
    )
    scale = np.sqrt(var_a * var_b)
    result: np.ndarray = np.where(scale > 0, both / np.where(scale > 0, scale, 1.0), np.nan)
    return result


def _centred_ranks(values: np.ndarray, times: np.ndarray, total: np.ndarray) -> np.ndarray:
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(values[order]) > 0]))
    tied = np.add.reduceat(times[..., order], starts, axis=-1)
    middle = np.cumsum(tied, axis=-1) - tied / 2 - total / 2
    group = np.zeros(len(values), dtype=int)
    group[starts[1:]] = 1
    back = np.empty(len(values), dtype=int)
    back[order] = np.cumsum(group)
    result: np.ndarray = middle[..., back]
    return result


def _spearman(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], generator: np.random.Generator
) -> tuple[float, float, float]:
    estimate, drawn = [], []
    for early, final in pairs:
        size = len(final)
        estimate.append(weighted_spearman(early, final, np.ones(size)))
        times = generator.multinomial(size, np.full(size, 1 / size), size=RESAMPLES)
        drawn.append(weighted_spearman(early, final, times.astype("float64")))
    means = np.nan_to_num(np.mean(drawn, axis=0))
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(np.nan_to_num(np.mean(estimate))), float(low), float(high)


def _kendall(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float, float]:
    taus = [np.nan_to_num(stats.kendalltau(early, final).statistic) for early, final in pairs]
    tau = float(np.mean(taus))
    z = np.arctanh(np.clip(tau, -1 + 1e-12, 1 - 1e-12))
    error = np.sqrt(sum(0.437 / (len(final) - 4) for _, final in pairs)) / len(pairs)
    half = stats.norm.ppf((1 + CONFIDENCE) / 2) * error
    return tau, float(np.tanh(z - half)), float(np.tanh(z + half))


def abort_rule(trials: pd.DataFrame, rises: pd.DataFrame, chance: float, validation_examples: int) -> pd.DataFrame:
    """Try on runs that were not stopped what the rule "stop when the loss exceeds r times its first value" would have done.

    The loss is that of the minibatches that curves.csv keeps; a loss that is not finite exceeds every limit. A run ends
    well when it is healthy and its final validation accuracy lies above chance by more than three standard errors
    (binomial); it comes near the others when it is within NEAR of the median of its stage.

    Parameters
    ----------
    trials
        All trials. Only tuning, final and random runs are looked at, which are not cut short; of these neither those that failed
        with an error, for there is nothing to watch, nor those that the rule itself was in force for.
    rises
        See `Progress.rises`.
    chance
        Accuracy of a guess, 0 to 1.
    validation_examples
        Examples behind a validation accuracy.

    Returns
    -------
    pandas.DataFrame
        ABORT_COLUMNS: a row for each stage, and for all, and for each of RISES; intervals are Wilson's (1927).
    """
    in_full = trials["stage"].isin(["tuning", "final", "random"]) & (trials["status"] != "failed")
    ruled = trials["regularisation"].map(largest_loss_of).notna()
    runs = trials[in_full & ~ruled].merge(rises.astype({"trial_id": "str"}), on="trial_id", how="left")
    enough = chance + 3 * np.sqrt(chance * (1 - chance) / validation_examples)
    accuracy = runs["final_validation_accuracy"].fillna(0.0)
    healthy = runs["status"].isin(["ok", "stopped_early"])
    runs = runs.assign(
        well=healthy & (accuracy > enough),
        near=healthy & (accuracy >= accuracy.groupby(runs["stage"]).transform("median") - NEAR),
        lost=runs["status"] == "diverged",
    )
    rows = []
    groups = [(str(stage), own) for stage, own in runs.groupby("stage", sort=True)]
    for stage, own in [*groups, ("all", runs)] if len(groups) > 1 else groups:
        for rise in RISES:
            seen = own["rise"] > rise
            stopped = seen | own["lost"]
            number, bad = int(stopped.sum()), ~own["well"]
            counts = [int((stopped & own[column]).sum()) for column in ("well", "near")]
            shares = [value for count in counts for value in (count, *wilson(count, number))]
            precision, recall = wilson(number - counts[0], number), wilson(int((stopped & bad).sum()), int(bad.sum()))
            rows.append((stage, rise, len(own), number, int(seen.sum()), *precision, int(bad.sum()), *recall, *shares))
    return pd.DataFrame(rows, columns=list(names(ABORT_COLUMNS)))
