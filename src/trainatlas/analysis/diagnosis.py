"""How a run went, told from its loss curves and how it ended: one label a run, from one table of rules.

The rules say in numbers what textbooks and courses draw: curves of a rate that is too low, too high, about right, of a
network that overfits or is too small. They are tried in order, and the first that holds gives the label. How often they are
right is measured on runs whose fault is known (docs/diagnosis.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trainatlas.analysis.curve_columns import DIAGNOSIS_COLUMNS, DIAGNOSIS_COUNT_COLUMNS
from trainatlas.analysis.curve_signs import curve_signs
from trainatlas.train.records import names

UNCLEAR = "unclear"
"""The label of a run for which no rule holds."""


@dataclass(frozen=True)
class Rule:
    """A label and when a run gets it.

    Attributes
    ----------
    name
        The label.
    condition
        Takes the signs of runs (see `trainatlas.analysis.curve_signs`) and the thresholds by name; returns where it holds.
        What is missing holds nowhere.
    thresholds
        Where it starts to hold, by name.
    meaning
        The rule in words.
    source
        Where the rule, or what it is made from, is found.
    """

    name: str
    condition: Callable[..., pd.Series]
    thresholds: Mapping[str, float]
    meaning: str
    source: str

    def holds(self, signs: pd.DataFrame) -> pd.Series:
        """Return for which runs the rule holds, aligned with `signs`."""
        return self.condition(signs, **self.thresholds)


def _failed(signs: pd.DataFrame) -> pd.Series:
    return signs["status"] == "failed"


def _exploding(signs: pd.DataFrame, rise: float, recovered: float) -> pd.Series:
    reached = signs["train_accuracy"] + signs["shortfall"]
    return (signs["status"] == "diverged") | ((signs["rise"] > rise) & (signs["train_accuracy"] < recovered * reached))


def _plateau_then_drop(signs: pd.DataFrame, low: float, high: float, drop: float) -> pd.Series:
    flat = (signs["early_lowest"] > low) & (signs["early_highest"] < high)
    return flat & (signs["late_lowest"] < drop)


def _too_slow(signs: pd.DataFrame, validation: float, minibatch: float) -> pd.Series:
    return (signs["validation_fall"] < validation) & (signs["lowest"] > 1 - minibatch)


def _too_fast(signs: pd.DataFrame, above: float, share: float, swing: float) -> pd.Series:
    stands = (signs["last"] > above * signs["lowest"]) & (signs["last"] > share)
    return stands | (signs["swing"] > swing)


def _overfitting(signs: pd.DataFrame, rise: float) -> pd.Series:
    return (signs["validation_rise"] > rise) & (signs["train_change"] < 0)


def _still_improving(signs: pd.DataFrame, fall: float, gain: float) -> pd.Series:
    return (signs["late_fall"] > fall) & (signs["late_gain"] > gain)


def _underfitting(signs: pd.DataFrame, shortfall: float) -> pd.Series:
    return (signs["shortfall"] > shortfall) & (signs["gap"] < signs["shortfall"])


def _healthy(signs: pd.DataFrame, shortfall: float) -> pd.Series:
    return signs["shortfall"] <= shortfall


RULES = (
    Rule("failed", _failed, {}, "the run ended with an error; it has no curve to look at", "trials.csv, status"),
    Rule(
        "exploding",
        _exploding,
        {"rise": 3.0, "recovered": 0.5},
        "the loss stops being finite; or it exceeds 3 times its first value, and the run ends with less than half the "
        "training accuracy of the study's best tenth",
        "CS231n, lecture on training neural networks (2016): a search gives up on a run whose loss exceeds 3 times the first",
    ),
    Rule(
        "plateau_then_drop",
        _plateau_then_drop,
        {"low": 0.95, "high": 1.05, "drop": 0.5},
        "for the first fifth of the run every minibatch's loss is within 5 % of the first; later one is below half of it",
        "Saxe, McClelland and Ganguli (2014), arXiv 1312.6120: small initial weights start near a saddle point",
    ),
    Rule(
        "too_slow",
        _too_slow,
        {"validation": 0.05, "minibatch": 0.2},
        "the validation loss falls by less than 5 %, and that of minibatches, which is noisier, by less than 20 %",
        "CS231n, notes 'Neural Networks Part 3': a loss that barely changes, a rate that is too low",
    ),
    Rule(
        "too_fast",
        _too_fast,
        {"above": 2.0, "share": 0.1, "swing": 0.05},
        "the loss of minibatches ends at more than twice the lowest it reached, and above a tenth of the loss before training; "
        "or the validation loss swings from epoch to epoch by more than 5 % of the loss before training",
        "LeCun, Bottou, Orr and Müller (1998), 'Efficient BackProp', section 5: above twice the best rate the loss grows; "
        "below that it oscillates",
    ),
    Rule(
        "overfitting",
        _overfitting,
        {"rise": 1.1},
        "the validation loss ends above 1.1 times its smallest value, and the training loss is below what it was there",
        "Prechelt (1998), 'Early Stopping - But When?', generalisation loss GL = 10 %",
    ),
    Rule(
        "still_improving",
        _still_improving,
        {"fall": 0.05, "gain": 0.01},
        "the validation loss falls by more than 5 % over the last fifth of the run, and by more than 1 % of the loss before "
        "training: a fall from 0.12 to 0.11 nats is not worth a longer run",
        "Prechelt (1998): training goes on while it makes progress",
    ),
    Rule(
        "underfitting",
        _underfitting,
        {"shortfall": 0.1},
        "the training accuracy ends more than 10 points below what the study's best tenth reaches, and what is lost between "
        "training and validation is less than that",
        "Goodfellow, Bengio and Courville (2016), 'Deep Learning', section 5.2",
    ),
    Rule(
        "healthy",
        _healthy,
        {"shortfall": 0.1},
        "none of these, and the training accuracy is at most 10 points below what the study's best tenth reaches",
        "the same",
    ),
)
"""The rules in the order in which they are tried."""

LABELS = (*(rule.name for rule in RULES), UNCLEAR)


def rule(name: str) -> Rule:
    """Return the rule of a label."""
    return next(each for each in RULES if each.name == name)


def diagnoses(final: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Label each run by the first rule that holds.

    Parameters
    ----------
    final, curves
        As for `curve_signs`: the final runs of a study and their losses. What a run is measured against is the
        best tenth of these runs.

    Returns
    -------
    pandas.DataFrame
        DIAGNOSIS_COLUMNS, a row a run in the order of `final`: the label and the signs it was told from.
    """
    signs = curve_signs(final, curves)
    labels = np.select([each.holds(signs).to_numpy(dtype=bool) for each in RULES], LABELS[:-1], UNCLEAR)
    return signs.assign(diagnosis=labels).reset_index()[list(names(DIAGNOSIS_COLUMNS))]


def diagnosis_counts(final: pd.DataFrame, found: pd.DataFrame, levels: Mapping[str, tuple[str, ...]]) -> pd.DataFrame:
    """Count labels by level: every label that some run of the study has, in the order of LABELS.

    Parameters
    ----------
    final
        Final runs: `trial_id` and the columns of the factors.
    found
        What `diagnoses` returns of them.
    levels
        The study's levels by factor.

    Returns
    -------
    pandas.DataFrame
        DIAGNOSIS_COUNT_COLUMNS.
    """
    labels = final["trial_id"].astype("str").map(found.set_index("trial_id")["diagnosis"])
    shown = [label for label in LABELS if (labels == label).any()]
    rows = []
    for factor, texts in levels.items():
        for text in texts:
            own = labels[(final[factor] == text).to_numpy()]
            counts = own.value_counts()
            rows += [(factor, text, label, int(counts.get(label, 0)), len(own)) for label in shown if len(own)]
    table = pd.DataFrame(rows, columns=["factor", "level", "diagnosis", "runs", "trials"])
    return table.assign(fraction=table["runs"] / table["trials"])[list(names(DIAGNOSIS_COUNT_COLUMNS))]
