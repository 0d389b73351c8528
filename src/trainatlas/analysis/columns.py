"""The data dictionary of the analysis: the columns of every table that `trainatlas analyse` writes."""

from __future__ import annotations

from trainatlas.analysis.comparison_columns import COMPARISON_TABLES
from trainatlas.analysis.curve_columns import CURVE_TABLES
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
    Column(
        "behind",
        "number",
        "test accuracy of the first row's cell minus this one's, mean over shared seeds",
        optional=True,
    ),
    Column("behind_low", "number", "lower end of its 95 % interval over seeds", optional=True),
    Column("behind_high", "number", "upper end", optional=True),
)

RATE_COLUMNS = (
    Column("optimizer", "text", "the optimizer"),
    Column("factor", "text", "another factor; each in turn takes in every tuning run"),
    Column("level", "text", "the level of that factor"),
    Column("learning_rate", "number", "step size"),
    Column("decile_1", "number", "10 % of the tuning runs are below", optional=True),
    Column("median", "number", "median final validation accuracy of the tuning runs", optional=True),
    Column("decile_9", "number", "10 % of the tuning runs are above", optional=True),
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
    Column("median_epochs", "number", "half of the runs needs no more epochs; inf: not reached"),
    Column(
        "median_examples", "number", "half of the runs needs no more examples (steps x batch size); inf: not reached"
    ),
    Column(
        "median_seconds",
        "number",
        "half of the runs needs no more seconds (steps x step_seconds of timing.csv: this machine's, each network trained alone, "
        "without evaluation and loading); inf: not reached; empty: not timed",
        optional=True,
    ),
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

DEAD_UNIT_COLUMNS = (
    Column("activation", "text", "level of the factor"),
    Column(
        "correlation",
        "number",
        "Spearman's, of dead share at the end and test accuracy over a seed's cells; mean",
    ),
    Column("low", "number", "lower end of the 95 % interval over seeds", optional=True),
    Column("high", "number", "upper end", optional=True),
    Column("dead_fraction", "number", "mean dead share of hidden units at the end"),
    Column("most", "number", "largest dead share of a run"),
    Column("runs", "whole", "final runs"),
    Column("seeds", "whole", "seeds with runs that differ"),
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

_BAND = (
    Column("decile_1", "number", "a tenth of the searches find no better"),
    Column("median", "number", "half of the searches find no better"),
    Column("decile_9", "number", "nine tenths of the searches find no better"),
)

SEARCH_COLUMNS = (
    Column(
        "of", "text", "runs that are searched: tuning (each at one rate), final (each with its tuned rate) or random"
    ),
    Column("search", "text", "grid (products of some of the levels and rates) or random"),
    Column("budget", "whole", "runs that are trained, those that tune a rate among them"),
    Column("accuracy", "number", "expected validation accuracy of the best run found, mean over seeds"),
    Column("low", "number", "lower end of its 95 % interval: over runs for random, over seeds for grid", optional=True),
    Column("high", "number", "upper end", optional=True),
    *_BAND,
    Column("test_accuracy", "number", "expected test accuracy of the run found"),
    Column("searches", "number", "grids drawn; empty where all searches are counted exactly", optional=True),
    Column("seeds", "whole", "seeds; a search sees the runs of one"),
    Column("runs", "whole", "runs that are searched, all seeds together"),
)

SEARCH_DIFFERENCE_COLUMNS = (
    Column("of", "text", "runs that random search has: those of the grid (tuning, final), or the random sample"),
    Column("budget", "whole", "runs that either search trains, those that tune a rate among them"),
    Column("difference", "number", "validation accuracy of the best run found, random minus grid, expected"),
    Column("low", "number", "lower end of the 95 % interval over seeds", optional=True),
    Column("high", "number", "upper end", optional=True),
    Column("share_better", "number", "probability that random finds the better run; ties count half"),
    Column("test_difference", "number", "test accuracy of the runs found, random minus grid"),
    Column("seeds", "whole", "seeds of the random search"),
    Column("other_seeds", "whole", "1 where the grid has other seeds than the random search"),
)

RATE_LAW_COLUMNS = (
    Column("budget", "whole", "runs that are trained; 0: too few draws to say anything"),
    *(
        Column(f"{law}{end}", "number", meaning, optional=True)
        for law, scale in (("log", "log"), ("linear", "linear"))
        for end, meaning in (
            ("", f"expected validation accuracy of the best run found, rates even on a {scale} scale"),
            *((f"_{column.name}", column.meaning) for column in _BAND),
        )
    ),
    Column("difference", "number", "log minus linear", optional=True),
    Column("low", "number", "lower end of the 95 % interval over draws", optional=True),
    Column("high", "number", "upper end", optional=True),
    Column("effective_draws", "number", "draws that the weighed ones are worth, in the seed with the fewest"),
    Column("draws", "whole", "draws of all seeds"),
    Column("seeds", "whole", "seeds; a search sees the draws of one"),
)

RANGE_EDGE_COLUMNS = (
    Column("where", "text", "edge: the best remaining rate lies next to the one that was cut off; inside: elsewhere"),
    Column("settings", "whole", "settings of the grid, each cut at the low and at the high end"),
    Column("improved", "whole", "of these: the cut rate is better than all that remain"),
    Column("share", "number", "their share"),
    Column("share_low", "number", "lower end of the 95 % interval (Wilson)"),
    Column("share_high", "number", "upper end"),
    Column("gain", "number", "mean gain in validation accuracy by the cut rate, 0 where it is no better"),
    Column("low", "number", "lower end of the 95 % interval over settings"),
    Column("high", "number", "upper end"),
)

IMPORTANCE_COLUMNS = (
    Column(
        "term", "text", "a parameter (for learning_rate its place in its range), two joined by ' x ', or the remainder"
    ),
    Column("order", "whole", "1: a parameter, 2: a pair beyond what its two carry alone, 0: remainder"),
    Column("share", "number", "share of the variance of the forest's prediction of validation accuracy"),
    Column("low", "number", "lower end of the 95 % interval over draws", optional=True),
    Column("high", "number", "upper end", optional=True),
    Column(
        "explained", "number", "share of the variance of accuracy that the forest explains of draws it has not seen"
    ),
    Column("trials", "whole", "draws behind the forest"),
)

SCREENING_COLUMNS = (
    Column("stage", "text", "tuning or random"),
    Column("epoch", "whole", "epochs after which trials are looked at"),
    Column("epochs", "whole", "budget of a run"),
    Column("spearman", "number", "rank correlation of validation accuracy then and at the end, mean over seeds"),
    Column("spearman_low", "number", "lower end of the 95 % interval over trials"),
    Column("spearman_high", "number", "upper end"),
    Column("kendall", "number", "Kendall's tau-b of the same"),
    Column("kendall_low", "number", "lower end of the 95 % interval over trials"),
    Column("kendall_high", "number", "upper end"),
    Column("searched", "whole", "trials of a search, of one seed"),
    *(
        Column(f"regret_{share}{end}", "number", meaning)
        for share in ("half", "third")
        for end, meaning in (
            ("", f"final validation accuracy lost by going on with the best {share} alone, mean over searches"),
            ("_worst", "nineteen of twenty searches lose no more"),
        )
    ),
    Column("seeds", "whole", "seeds"),
    Column("trials", "whole", "trials of all seeds"),
)

ABORT_COLUMNS = (
    Column("stage", "text", "tuning, final or random; all: together"),
    Column("rise", "number", "the rule stops a run whose loss exceeds so many times its first value"),
    Column("runs", "whole", "runs that were not stopped, those that failed with an error left out"),
    Column("stopped", "whole", "of these: the rule would have stopped"),
    Column("seen", "whole", "of the stopped: at a loss that was still finite"),
    Column(
        "precision",
        "number",
        "share of the stopped that ended badly (diverged or not clearly above chance)",
        optional=True,
    ),
    Column("precision_low", "number", "lower end of the 95 % interval (Wilson)", optional=True),
    Column("precision_high", "number", "upper end", optional=True),
    Column("bad", "whole", "runs that ended badly"),
    Column("recall", "number", "share of these that the rule would have stopped", optional=True),
    Column("recall_low", "number", "lower end of the 95 % interval (Wilson)", optional=True),
    Column("recall_high", "number", "upper end", optional=True),
    Column("recovered", "whole", "stopped runs that ended healthy and clearly above chance"),
    Column("recovered_share", "number", "their share of the stopped", optional=True),
    Column("recovered_low", "number", "lower end of the 95 % interval (Wilson)", optional=True),
    Column("recovered_high", "number", "upper end", optional=True),
    Column("near", "whole", "stopped runs that ended within five points of their stage's median, or above"),
    Column("near_share", "number", "their share of the stopped", optional=True),
    Column("near_low", "number", "lower end of the 95 % interval (Wilson)", optional=True),
    Column("near_high", "number", "upper end", optional=True),
)

SEARCH_ROUND_COLUMNS = (
    Column("sample", "text", "name of the search"),
    Column("strategy", "text", "coarse_to_fine, successive_halving or bayesian"),
    Column("round", "whole", "round of planning, counted from 1"),
    Column("stage", "text", "coarse, fine, rung, batch, or winner: the best on fresh seeds"),
    Column("trials", "whole", "trials of the round"),
    Column("lost", "whole", "of these: diverged or failed"),
    Column("epochs", "whole", "trial-epochs trained so far, in this round and those before"),
    Column("validation_accuracy", "number", "of the round's best trial at its end; of winners: their mean"),
    Column(
        "random_accuracy",
        "number",
        "expected of the best of as many random draws as these epochs pay for; empty: too few of one seed",
        optional=True,
    ),
    Column("test_accuracy", "number", "of the best trial; of winners: mean over seeds", optional=True),
    Column("test_low", "number", "of winners: lower end of the 95 % interval over seeds", optional=True),
    Column("test_high", "number", "upper end", optional=True),
    Column("trial_id", "text", "the best trial"),
    Column("setting", "text", "its levels, rate and parameters"),
)

REGION_COLUMNS = (
    Column("sample", "text", "name of the search"),
    Column("round", "whole", "round whose draws come from the new range"),
    Column("name", "text", "range: learning_rate.KEY, or a parameter"),
    Column("searched_low", "number", "lower end of the range searched before"),
    Column("searched_high", "number", "upper end"),
    Column("best", "number", "best value so far"),
    Column("edge", "text", "low or high: the best value lies within a tenth of that end"),
    Column("low", "number", "lower end of the new range"),
    Column("high", "number", "upper end"),
)

ANALYSIS_TABLES: dict[str, tuple[Column, ...]] = {
    "effects": EFFECT_COLUMNS,
    "random_effects": EFFECT_COLUMNS,
    "differences": DIFFERENCE_COLUMNS,
    **COMPARISON_TABLES,
    **CURVE_TABLES,
    "interactions": INTERACTION_COLUMNS,
    "levels": LEVEL_COLUMNS,
    "cells": CELL_COLUMNS,
    "rates": RATE_COLUMNS,
    "convergence": CONVERGENCE_COLUMNS,
    "curves": CURVE_SUMMARY_COLUMNS,
    "units": UNIT_COLUMNS,
    "dead_units": DEAD_UNIT_COLUMNS,
    "layers": LAYER_SUMMARY_COLUMNS,
    "layer_gains": LAYER_GAIN_COLUMNS,
    "histograms": HISTOGRAM_CHOICE_COLUMNS,
    "coverage": COVERAGE_COLUMNS,
    "search": SEARCH_COLUMNS,
    "search_differences": SEARCH_DIFFERENCE_COLUMNS,
    "rate_laws": RATE_LAW_COLUMNS,
    "range_edges": RANGE_EDGE_COLUMNS,
    "importance": IMPORTANCE_COLUMNS,
    "screening": SCREENING_COLUMNS,
    "abort_rule": ABORT_COLUMNS,
    "search_rounds": SEARCH_ROUND_COLUMNS,
    "search_regions": REGION_COLUMNS,
}
"""Every table of the analysis, by the name of its file under `analysis/`."""
