"""What training writes down: the columns of its tables, and the rows as they arise.

The columns declared here are the data dictionary: the pandera schemas that later stages check with, and the page in
docs, are made from them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from trainatlas.study.trial import FIELD_TYPES

Kind = Literal["text", "whole", "number"]


@dataclass(frozen=True)
class Column:
    """A column: its name, kind, meaning, and whether cells may be empty."""

    name: str
    kind: Kind
    meaning: str
    optional: bool = False


STATUSES = ("ok", "diverged", "stopped_early", "failed")
SPLITS = ("train_batch", "train", "validation", "test")
QUANTITIES = ("activation", "gradient")
BINS = 40
"""Bins of a histogram, equally wide, between a layer's own extremes."""

_TRIAL_MEANINGS = {
    "data": "data set",
    "network": "architecture",
    "activation": "level of the factor",
    "init": "level of the factor",
    "normalisation": "level of the factor",
    "optimizer": "level of the factor",
    "preprocessing": "level of the factor",
    "learning_rate": "step size",
    "batch_size": "examples per step",
    "epochs": "budget: passes over the training part",
    "seed": "fixes split, data order, initial draws and noise",
    "validation_share": "share of all examples",
    "test_share": "share of all examples",
    "schedule": "level of the factor",
    "regularisation": "level of the factor",
    "augmentation": "level of the factor",
    "user_code": "digests of the user's own files that levels name; empty for none",
    "data_digest": "digest of the user's own data; empty for data sets of the catalogue",
    "stop_epoch": "epoch after which training ends though schedules are made for all; 0: the last",
}
_KINDS: dict[type, Kind] = {str: "text", int: "whole", float: "number"}

TRIAL_COLUMNS = (
    Column("trial_id", "text", "digest of the configuration and TRAINING_VERSION"),
    *(Column(name, _KINDS[kind], _TRIAL_MEANINGS[name]) for name, kind in FIELD_TYPES.items()),
    Column("status", "text", "ok, diverged (not finite), stopped_early or failed"),
    Column("error", "text", "why a trial failed", optional=True),
    Column("steps_run", "whole", "optimizer steps taken with a finite loss"),
    Column("epochs_run", "whole", "epochs begun"),
    Column(
        "first_train_loss",
        "number",
        "loss (nats) of the first minibatch before any step, without penalties",
        optional=True,
    ),
    Column("first_penalty", "number", "what penalties added to that loss", optional=True),
    Column("final_train_loss", "number", "cross-entropy (nats) on the training part at the end", optional=True),
    Column("best_validation_loss", "number", "smallest validation loss (nats) of any epoch", optional=True),
    Column("final_validation_loss", "number", "validation loss (nats) at the end", optional=True),
    Column("final_train_accuracy", "number", "share of the training part classified rightly", optional=True),
    Column("best_validation_accuracy", "number", "largest validation accuracy of any epoch", optional=True),
    Column("final_validation_accuracy", "number", "validation accuracy at the end", optional=True),
    Column("test_accuracy", "number", "test accuracy at the end, looked at once", optional=True),
    Column("test_loss", "number", "test loss (nats) at the end", optional=True),
    Column("initial_dead_fraction", "number", "dead share of all hidden units before training", optional=True),
    Column("final_dead_fraction", "number", "dead share of all hidden units at the end", optional=True),
    Column("parameters", "whole", "trained parameters"),
    Column("retained_variance", "number", "share of training variance that preprocessing kept", optional=True),
    Column("device", "text", "cpu or cuda"),
    Column("dtype", "text", "precision of parameters and examples"),
    Column("training_version", "whole", "TRAINING_VERSION"),
)

CURVE_COLUMNS = (
    Column("trial_id", "text", "see trials.csv"),
    Column("step", "whole", "optimizer steps taken; for train_batch the step whose minibatch it is"),
    Column("epoch", "number", "step over the number of steps in an epoch"),
    Column("split", "text", "train_batch (one minibatch), train (the probe set), validation or test (all of it)"),
    Column(
        "loss",
        "number",
        "mean cross-entropy (nats), without penalties; for train_batch against smoothed or mixed labels where asked",
        optional=True,
    ),
    Column("accuracy", "number", "share classified rightly", optional=True),
    Column("learning_rate", "number", "step size in force at the step taken last"),
)

LAYER_COLUMNS = (
    Column("trial_id", "text", "see trials.csv"),
    Column("step", "whole", "optimizer steps taken; 0 is before training"),
    Column("layer", "text", "path of the layer in the network"),
    Column("depth", "whole", "1 for the first layer with weights"),
    Column("dead_fraction", "number", "units whose slope is nil on every training example", optional=True),
    Column(
        "saturated_fraction",
        "number",
        "(unit, example) pairs with slope below 1 % of the largest",
        optional=True,
    ),
    Column("activation_mean", "number", "mean output over units and training examples"),
    Column("activation_std", "number", "standard deviation of the outputs over both"),
    Column(
        "gradient_norm",
        "number",
        "L2 norm of the weight's gradient, without penalties, at this step (step 0: the first)",
    ),
    Column(
        "update_to_weight_ratio",
        "number",
        "L2 norm of the step's update over that of the weight",
        optional=True,
    ),
    Column(
        "backward_std",
        "number",
        "standard deviation, over units and examples, of the gradient by the input of the layer's activation (its output "
        "where it has none) of the cross-entropy summed over examples; full probes, before training and at the end",
        optional=True,
    ),
)

HISTOGRAM_COLUMNS = (
    Column("trial_id", "text", "see trials.csv"),
    Column("step", "whole", "optimizer steps taken: 0, and the last"),
    Column("layer", "text", "path of the layer in the network"),
    Column("depth", "whole", "1 for the first layer with weights"),
    Column("quantity", "text", "activation: the layer's outputs; gradient: that of backward_std"),
    Column("low", "number", "lower end of the bin"),
    Column("high", "number", "upper end of the bin; the last bin holds its upper end too"),
    Column("share", "number", "share of the values, over units and examples, in the bin"),
)

STACK_COLUMNS = (
    Column("pack", "text", "digest of its trials"),
    Column("structure", "text", "digest of what the stack's trials share"),
    Column("trials", "whole", "trials trained side by side"),
    Column("epochs", "whole", "budget of each"),
    Column("trial_steps", "whole", "optimizer steps taken, summed over trials"),
    Column("planned_trial_steps", "whole", "optimizer steps of their whole budget"),
    Column("seconds", "number", "wall-clock time of the stack"),
    Column("estimated_seconds", "number", "the built-in estimate of it"),
    Column("device", "text", "cpu, or the name of the GPU"),
)

PACK_COLUMNS = (
    Column("pack", "text", "digest of its trials"),
    Column("trials", "whole", "trials trained"),
    Column("trial_steps", "whole", "optimizer steps taken, summed over trials"),
    Column(
        "seconds",
        "number",
        "wall-clock time of training, without start-up, up to checkpoints of earlier jobs too",
    ),
    Column("start_seconds", "number", "wall-clock time to import and load"),
    Column("started", "text", "when the job began to train, UTC"),
    Column("ended", "text", "when it was done, UTC"),
    Column("peak_memory_mib", "number", "largest resident memory of the job"),
    Column("device", "text", "cpu, or the name of the GPU"),
    Column("torch_version", "text", "version of torch"),
)

TIMED_BY = (
    "activation",
    "normalisation",
    "optimizer",
    "preprocessing",
    "regularisation",
    "augmentation",
    "batch_size",
)
"""What, within a study, the time of a step may depend on: columns of trials.csv."""

MEASURED, COMPOSED = "measured", "composed"
"""How the seconds of a step were found."""

TIMING_COLUMNS = (
    *(Column(name, _KINDS[FIELD_TYPES[name]], f"{_TRIAL_MEANINGS[name]}, as in trials.csv") for name in TIMED_BY),
    Column("step_seconds", "number", "of an optimizer step of one network trained alone, median over turns"),
    Column("fastest_turn", "number", "the same in the fastest turn; empty where composed", optional=True),
    Column("slowest_turn", "number", "the same in the slowest turn", optional=True),
    Column("turns", "whole", "turns behind the median; 0 where composed"),
    Column("how", "text", "measured, or composed: a reference times what each level costs beside it"),
    Column("device", "text", "cpu, or the name of the GPU"),
)


def names(columns: Iterable[Column]) -> tuple[str, ...]:
    """Return the columns' names."""
    return tuple(column.name for column in columns)


def number(value: float | None) -> str:
    """Return a float as tables hold it: seven significant digits, empty for None, `inf` for not finite."""
    if value is None:
        return ""
    return f"{value:.7g}" if math.isfinite(value) else "inf"


def kept_steps(total: int) -> list[int]:
    """Return the steps whose minibatch loss is kept: 1 to 10, then each at least 10 % later, and the last."""
    kept: list[int] = []
    step = 1
    while step < total:
        kept.append(step)
        step = step + 1 if step < 10 else -(-11 * step // 10)  # rounded up, in whole numbers
    return [*kept, total]
