"""The data dictionary of what is told from loss curves and times to targets: part of `trainatlas.analysis.columns`."""

from __future__ import annotations

from trainatlas.train.records import Column

SURVIVAL_COLUMNS = (
    Column("factor", "text", "the factor"),
    Column("level", "text", "the level"),
    Column("target", "text", "the target's column in trials.csv"),
    Column("step", "whole", "optimizer steps taken"),
    Column("at_risk", "whole", "final runs that have neither reached the target nor left before this step"),
    Column("reached", "whole", "final runs that reached it since the row before"),
    Column("survival", "number", "share that has not reached it yet, after this step (Kaplan-Meier)"),
    Column("low", "number", "lower end of the pointwise 95 % interval over runs (Greenwood, log-log)", optional=True),
    Column("high", "number", "upper end", optional=True),
)

MEDIAN_RATIO_COLUMNS = (
    Column("factor", "text", "the factor"),
    Column("level", "text", "the level"),
    Column("reference", "text", "the level it is compared with: the factor's first"),
    Column("target", "text", "the target's column in trials.csv"),
    Column(
        "ratio",
        "number",
        "median steps of the level over those of the reference, geometric mean over seeds; inf: never got there",
        optional=True,
    ),
    Column("low", "number", "lower end of the 95 % interval over seeds; empty: open", optional=True),
    Column("high", "number", "upper end; inf or empty: open", optional=True),
    Column("reached_fraction", "number", "share of the level's paired runs that reached the target"),
    Column("reference_reached_fraction", "number", "the same of the reference"),
    Column("p", "number", "log-rank test stratified by seed, not corrected; empty: not defined", optional=True),
    Column("seeds", "whole", "seeds behind the ratio: one of the two medians is finite"),
    Column("trials", "whole", "final runs of the level that have a pair"),
    Column(
        "seconds_ratio",
        "number",
        "as ratio, of median seconds (steps x step_seconds of timing.csv: this machine's, without evaluation and loading); "
        "empty: not timed",
        optional=True,
    ),
    Column(
        "seconds_low",
        "number",
        "lower end of the 95 % interval over seeds, as low; step_seconds count as known",
        optional=True,
    ),
    Column("seconds_high", "number", "upper end, as high", optional=True),
)

DIAGNOSIS_COLUMNS = (
    Column("trial_id", "text", "see trials.csv"),
    Column("diagnosis", "text", "label of the first rule that holds (docs/diagnosis.md); unclear: none does"),
    *(
        Column(name, "number", meaning, optional=True)
        for name, meaning in (
            ("rise", "largest loss of a minibatch over the first one's"),
            ("early_lowest", "smallest loss of a minibatch in the first fifth of the run over the first one's"),
            ("early_highest", "the largest there, likewise"),
            ("late_lowest", "the smallest after the first fifth, likewise"),
            ("lowest", "smallest mean of three minibatch losses over the validation loss before training"),
            ("last", "the last such mean, likewise"),
            ("validation_fall", "share of the validation loss before training that the smallest one took off"),
            ("validation_rise", "validation loss at the end over the smallest"),
            ("late_fall", "share of the validation loss that the last fifth of the run took off"),
            ("late_gain", "the same as a share of the validation loss before training"),
            ("swing", "mean change of validation loss between epochs of the second half, without its trend, likewise"),
            ("train_change", "minibatch loss at the end minus that when the validation loss was smallest, as `last`"),
            ("train_accuracy", "training accuracy at the end"),
            ("gap", "that minus validation accuracy"),
            ("shortfall", "training accuracy that a tenth of the final runs reach or exceed, minus this run's"),
        )
    ),
)

DIAGNOSIS_COUNT_COLUMNS = (
    Column("factor", "text", "the factor"),
    Column("level", "text", "the level"),
    Column("diagnosis", "text", "see diagnoses.csv"),
    Column("runs", "whole", "final runs of the level with this label"),
    Column("trials", "whole", "final runs of the level"),
    Column("fraction", "number", "their share"),
)

PROFILE_COLUMNS = (
    Column("factor", "text", "the factor"),
    Column("level", "text", "the level"),
    Column("target", "text", "the target's column in trials.csv"),
    Column("tau", "number", "steps to the target over those of the best level on the same problem, 1 to 4"),
    Column(
        "share", "number", "share of problems on which the level's ratio is at most tau; constant up to the next row"
    ),
    Column(
        "score",
        "number",
        "area under the whole profile over its width, 1: always the best; the same in all rows of a level",
    ),
    Column("problems", "whole", "seeds x levels of all other factors with which every level of this one was run"),
)

CURVE_TABLES: dict[str, tuple[Column, ...]] = {
    "survival": SURVIVAL_COLUMNS,
    "median_ratios": MEDIAN_RATIO_COLUMNS,
    "diagnoses": DIAGNOSIS_COLUMNS,
    "diagnosis_counts": DIAGNOSIS_COUNT_COLUMNS,
    "profiles": PROFILE_COLUMNS,
}
"""These tables, by the name of their file under `analysis/`."""
