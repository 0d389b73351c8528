"""The section on time to target: who has not got there yet, ratios of medians, and performance profiles."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trainatlas.report.blocks import Figure, Section, Table
from trainatlas.report.drawing import pages_of, svg_of
from trainatlas.report.language import tr
from trainatlas.report.level_values import extremes, farthest_apart, listed
from trainatlas.report.median_ratios import ratio_figures, ratio_table
from trainatlas.report.step_panels import PANELS, StepCurve, draw_panels, panels_by_factor
from trainatlas.report.wording import factor_name, joined, level_name, percent, target_name
from trainatlas.study.config import Study


def time_section(study: Study, tables: dict[str, pd.DataFrame]) -> Section:
    """Return the section from survival.csv, which must have rows, median_ratios.csv and profiles.csv.

    Curves, ratios and profiles are drawn for the study's first target; tables have them all.
    """
    target = study.targets[0]
    text = target_name(target)
    survival, ratios, profiles = (
        tables[name][tables[name]["target"] == target.column] for name in ("survival", "median_ratios", "profiles")
    )
    blocks: list[Figure | Table] = [*survival_figures(survival, text)]
    if len(ratios):
        blocks += ratio_figures(ratios, text)
    if len(tables["median_ratios"]):
        blocks.append(ratio_table(study, tables["median_ratios"]))
    if len(profiles):
        blocks += profile_figures(profiles, text)
    return Section(
        "time-to-target",
        tr("Time to target"),
        [
            tr(
                "How levels compare by the optimizer steps to the study's first target, {target}; the other targets are in the "
                "tables. A run that ends without getting there may yet have got there: it counts as not there as long as it "
                "was watched. A run that was lost never gets there and counts so to the end of the budget.",
                target=text,
            )
        ],
        blocks,
    )


def survival_figures(survival: pd.DataFrame, target: str) -> list[Figure]:
    """Draw, factor by factor, the share of runs that have not reached the target yet, with counts of runs at risk.

    Parameters
    ----------
    survival
        Rows of survival.csv of one target, at least one.
    target
        The target in words.
    """
    ticks = survival_ticks(survival["step"])

    def curve(level: str, rows: pd.DataFrame) -> StepCurve:
        columns = (rows[name].to_numpy() for name in ("step", "survival", "low", "high"))
        step, share, low, high = (np.append(column, column[-1]) for column in columns)
        step[-1] = ticks[-1]
        counts = tuple(f"{at_risk(rows, tick):,}" for tick in ticks)
        return StepCurve(level, step, share, counts, low, high)

    missing = tr("not there at the end")
    ends = survival.groupby(["factor", "level"], sort=False, as_index=False).agg(value=("survival", "last"))
    found = []
    panels = panels_by_factor(survival, curve)
    for name, number, shown in pages_of(len(panels), PANELS):
        canvas = draw_panels(panels[shown], ticks, tr("optimizer steps"), tr("runs not there yet"), tr("runs at risk"))
        title = tr("Runs that have not got there yet") + number
        how = tr(
            "Target: {target}. Kaplan-Meier estimates over all final runs of a level with pointwise 95% intervals that take runs "
            "as independent (Greenwood, log-log); to compare levels, which share seeds and settings, see the ratios below. "
            "Numbers under the axis: runs at risk, neither there nor gone before that step.",
            target=target,
        )
        caption = f"{farthest_apart(ends, missing)} {how}"
        alt = tr("{title}, {target}. Share at the end: {shares}.", title=title, target=target, shares=listed(ends))
        found.append(Figure(f"survival{name}", svg_of(canvas), title, caption, alt, "survival"))
    return found


def survival_ticks(steps: pd.Series) -> list[int]:
    """Return up to five of the steps that curves are told at, from 0 to the last, as evenly spaced as they allow."""
    told = np.unique(np.append(steps.to_numpy(), 0))
    wanted = np.linspace(0, told[-1], 5)
    nearest = told[np.abs(told[:, None] - wanted).argmin(axis=0)]
    ticks = [int(tick) for tick in np.unique(nearest)]
    return ticks if len(ticks) > 1 else [0, max(ticks[0], 1)]


def at_risk(curve: pd.DataFrame, step: float) -> int:
    """Return how many runs have neither reached the target nor left before a step, by one level's rows of survival.csv."""
    rows = curve[curve["step"] >= step]
    return int(rows["at_risk"].iloc[0]) if len(rows) else 0


def profile_figures(profiles: pd.DataFrame, target: str) -> list[Figure]:
    """Draw performance profiles (Dolan and Moré 2002), factor by factor, and the shares at whole ratios.

    Parameters
    ----------
    profiles
        Rows of profiles.csv of one target, at least one.
    target
        The target in words.
    """
    last = float(profiles["tau"].max())
    ticks = [1.0, *(tick for tick in (2.0, 3.0, 4.0) if tick <= last)]

    def curve(level: str, rows: pd.DataFrame) -> StepCurve:
        shares = tuple(percent(profile_at(rows, tick), 0) for tick in ticks)
        return StepCurve(
            level, rows["tau"].to_numpy(), rows["share"].to_numpy(), shares, note=f" ({rows['score'].iloc[0]:.2f})"
        )

    curves = [(factor, level, rows) for (factor, level), rows in profiles.groupby(["factor", "level"], sort=False)]
    best, within = (
        pd.DataFrame([(*names, profile_at(rows, tau)) for *names, rows in curves], columns=["factor", "level", "value"])
        for tau in (1.0, last)
    )
    soonest = [
        tr(
            "{level} ({factor}, {share} of problems)",
            level=level_name(each.highest),
            factor=factor_name(each.factor),
            share=percent(each.high, 0),
        )
        for each in extremes(best)
    ]
    found = []
    panels = panels_by_factor(profiles, curve)
    for name, number, shown in pages_of(len(panels), PANELS):
        canvas = draw_panels(
            panels[shown], ticks, tr("τ: times the fewest steps"), tr("problems within τ"), tr("share at τ")
        )
        title = tr("Performance profiles") + number
        caption = tr(
            "Most often the fastest, or as fast: {list}. Each curve is the share of problems on which a level gets to the target "
            "({target}) within τ times the steps of the factor's fastest level; a problem is a seed with a level of every "
            "other factor. At τ = 1, where the axis begins: how often it is the fastest. A run that never gets there has an "
            "infinite ratio, so curves need not reach 100%. In brackets: area under the curve up to {last:g}, 1 for a level "
            "that is always fastest. With other levels beside it a level has another profile.",
            list=joined(soonest),
            target=target,
            last=last,
        )
        alt = tr(
            "{title}. Share of problems on which a level is fastest: {best}. Within {last:g} times: {within}.",
            title=title,
            best=listed(best),
            last=last,
            within=listed(within),
        )
        found.append(Figure(f"profiles{name}", svg_of(canvas), title, caption, alt, "profiles"))
    return found


def profile_at(curve: pd.DataFrame, tau: float) -> float:
    """Return the share of problems within `tau`, by one level's rows of profiles.csv."""
    rows = curve[curve["tau"] <= tau]
    return float(rows["share"].iloc[-1]) if len(rows) else 0.0
