"""The data dictionary of the analysis: the columns of every table that `trainatlas analyse` writes."""

from __future__ import annotations

from trainatlas.study.trial import FACTORS
from trainatlas.train.records import HISTOGRAM_COLUMNS, STATUSES, Column

EFFECT_COLUMNS = (
    Column("term", "text", "a factor, two factors joined by ' x ', or the remainder (higher orders and noise)"),
    Column("order", "whole", "1: main effect, 2: interaction of two factors, 0: remainder"),
    Column("share", "number", "share of the variance of test accuracy over the grid, mean over seeds"),
    Column("low", "number", "lower end of the 95 % interval over seeds", optional=True),
    Column("high", "number", "upper end", optional=True),
)

DIFFERENCE_COLUMNS = (
    Column("factor", "text", "the factor"),
    Column("level", "text", "the level"),
    Column("reference", "text", "the level it is compared with: the factor's first"),
    Column("difference", "number", "mean paired difference in test accuracy, level minus reference"),
    Column("low", "number", "lower end of the 95 % interval over seeds", optional=True),
    Column("high", "number", "upper end", optional=True),
    Column("share_better", "number", "share of pairs in which the level is the better"),
    Column("pairs", "whole", "pairs of trials that differ in this factor alone (and in its tuned rate)"),
)

INTERACTION_COLUMNS = (
    Column("factor_a", "text", "first factor"),
    Column("level_a", "text", "its level"),
    Column("factor_b", "text", "second factor"),
    Column("level_b", "text", "its level"),
    Column("mean", "number", "mean test accuracy over the other factors and seeds"),
    Column("low", "number", "lower end of the 95 % interval over seeds", optional=True),
    Column("high", "number", "upper end", optional=True),
    Column("trials", "whole", "final runs behind the mean"),
)

COVERAGE_COLUMNS = (
    Column("stage", "text", "tuning, final or random"),
    Column("factor", "text", "the factor; empty in the row that counts the whole stage"),
    Column("level", "text", "the level"),
    Column("trials", "whole", "trials planned and run"),
    *(Column(status, "whole", f"trials that ended {status}") for status in STATUSES),
)

LEVEL_COLUMNS = (
    Column("factor", "text", "the factor"),
    Column("level", "text", "the level"),
    Column("mean", "number", "mean test accuracy of the final runs"),
    Column("low", "number", "lower end of the 95 % interval over seeds", optional=True),
    Column("high", "number", "upper end", optional=True),
    Column("decile_1", "number", "10 % of the runs are below"),
    Column("median", "number", "median test accuracy"),
    Column("decile_9", "number", "10 % of the runs are above"),
    Column("best_cell", "number", "test accuracy of the cell with the best validation accuracy"),
    Column("dead_fraction", "number", "mean dead share of hidden units at the end", optional=True),
    Column("diverged", "whole", "final runs that diverged"),
    Column("trials", "whole", "final runs"),
)

CELL_COLUMNS = (
    *(Column(factor, "text", "level of the factor") for factor in FACTORS),
    Column("learning_rate", "number", "the tuned rate"),
    Column("at_edge", "whole", "1 when the rate is the first or last of its range"),
    Column("validation_accuracy", "number", "mean over final seeds"),
    Column("test_accuracy", "number", "mean over final seeds"),
    Column("low", "number", "lower end of the 95 % interval over seeds", optional=True),
    Column("high", "number", "upper end", optional=True),
    Column("dead_fraction", "number", "mean dead share of hidden units at the end", optional=True),
    Column("diverged", "whole", "final runs that diverged or failed"),
    Column("seeds", "whole", "final runs"),
)

RATE_COLUMNS = (
    Column("optimizer", "text", "the optimizer"),
    Column("normalisation", "text", "the normalisation"),
    Column("learning_rate", "number", "step size"),
    Column("decile_1", "number", "10 % of the cells are below", optional=True),
    Column("median", "number", "median final validation accuracy of the tuning runs", optional=True),
    Column("decile_9", "number", "10 % of the cells are above", optional=True),
    Column("diverged_fraction", "number", "share of tuning runs that diverged"),
    Column("chosen", "whole", "cells that chose this rate"),
    Column("trials", "whole", "tuning runs"),
)

CURVE_SUMMARY_COLUMNS = (
    Column("scope", "text", "'level': all final runs of a level; 'best': the seeds of its best cell"),
    Column("factor", "text", "the factor"),
    Column("level", "text", "the level"),
    Column("split", "text", "train_batch or validation"),
    Column("step", "whole", "optimizer steps taken"),
    Column("decile_1", "number", "10 % of the runs have a smaller loss"),
    Column("median", "number", "median loss (nats); a diverged run counts as infinite", optional=True),
    Column("decile_9", "number", "10 % of the runs have a larger loss", optional=True),
    Column("trials", "whole", "runs"),
)

CONVERGENCE_COLUMNS = (
    Column("factor", "text", "the factor"),
    Column("level", "text", "the level"),
    Column("target", "text", "the target's column in trials.csv"),
    Column("reached_fraction", "number", "share of final runs that reached the target"),
    Column("quartile_1", "number", "a quarter of the runs needs no more steps; inf: not reached"),
    Column("median", "number", "half of the runs needs no more steps; inf: not reached"),
    Column("quartile_3", "number", "three quarters of the runs need no more steps; inf: not reached"),
    Column("trials", "whole", "final runs"),
)

UNIT_COLUMNS = (
    Column("activation", "text", "level of the factor"),
    Column("by", "text", "the second factor: init or normalisation"),
    Column("level", "text", "its level"),
    Column("layer", "text", "path of the layer"),
    Column("depth", "whole", "1 for the first layer"),
    Column("step", "whole", "optimizer steps taken"),
    Column("dead_fraction", "number", "mean dead share of units"),
    Column("saturated_fraction", "number", "mean share of saturated (unit, example) pairs"),
    Column("dead_decile_9", "number", "10 % of the runs have a larger dead share"),
    Column("activation_std", "number", "median standard deviation of the layer's outputs"),
    Column("gradient_norm", "number", "median L2 norm of the weight's gradient"),
    Column("trials", "whole", "runs measured"),
)

_ARM = (
    Column("activation", "text", "level of the factor"),
    Column("init", "text", "level of the factor"),
    Column("normalisation", "text", "level of the factor"),
)

LAYER_SUMMARY_COLUMNS = (
    *_ARM,
    Column("layer", "text", "path of the layer"),
    Column("depth", "whole", "1 for the first layer"),
    Column("step", "whole", "optimizer steps taken"),
    Column("activation_std", "number", "standard deviation of the layer's outputs, geometric mean over seeds"),
    Column("activation_low", "number", "lower end of the 95 % interval over seeds", optional=True),
    Column("activation_high", "number", "upper end", optional=True),
    Column("backward_std", "number", "standard deviation of the gradient (see layers.csv), likewise", optional=True),
    Column("backward_low", "number", "lower end of the 95 % interval over seeds", optional=True),
    Column("backward_high", "number", "upper end", optional=True),
    Column("seeds", "whole", "seeds behind the row, each the median of its final runs"),
)

LAYER_GAIN_COLUMNS = (
    *_ARM,
    Column("forward", "number", "factor by which one more hidden layer multiplies activation_std, before training"),
    Column("forward_low", "number", "lower end of the 95 % interval over seeds", optional=True),
    Column("forward_high", "number", "upper end", optional=True),
    Column("backward", "number", "factor by which one more hidden layer on the way back multiplies backward_std"),
    Column("backward_low", "number", "lower end of the 95 % interval over seeds", optional=True),
    Column("backward_high", "number", "upper end", optional=True),
    Column("seeds", "whole", "seeds behind the row, each the median of its final runs"),
)

HISTOGRAM_CHOICE_COLUMNS = (*_ARM, *HISTOGRAM_COLUMNS)

ANALYSIS_TABLES: dict[str, tuple[Column, ...]] = {
    "effects": EFFECT_COLUMNS,
    "random_effects": EFFECT_COLUMNS,
    "differences": DIFFERENCE_COLUMNS,
    "interactions": INTERACTION_COLUMNS,
    "levels": LEVEL_COLUMNS,
    "cells": CELL_COLUMNS,
    "rates": RATE_COLUMNS,
    "convergence": CONVERGENCE_COLUMNS,
    "curves": CURVE_SUMMARY_COLUMNS,
    "units": UNIT_COLUMNS,
    "layers": LAYER_SUMMARY_COLUMNS,
    "layer_gains": LAYER_GAIN_COLUMNS,
    "histograms": HISTOGRAM_CHOICE_COLUMNS,
    "coverage": COVERAGE_COLUMNS,
}
"""Every table of the analysis, by the name of its file under `analysis/`."""
