"""Every figure of the report, drawn once as SVG for both the page and the document.

A function takes tidy tables and returns a `Figure`; nothing is read or written here. Those of what depth does are
in `trainatlas.report.depth`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from trainatlas.report.blocks import Figure
from trainatlas.report.drawing import (
    MARKERS,
    PALETTE,
    canvas_of,
    level_legend,
    line_of,
    pages_of,
    percent_axis,
    share_bars,
    svg_of,
)
from trainatlas.report.language import tr
from trainatlas.report.wording import (
    factor_name,
    joined,
    level_name,
    percent,
    points,
    points_interval,
    target_name,
    term_name,
)
from trainatlas.study.config import Study

DRAWN_POINTS = 2_000
"""Random draws that are drawn one by one at most: more would hide each other and swell the page."""

RATE_PANELS = 4
"""Optimizers side by side in a figure of learning rates, at most."""
RATE_HEIGHT = 8.0
"""Inches of its panels one over another, at most: with title and caption they fit a page."""


def variance_shares(effects: pd.DataFrame, random: pd.DataFrame) -> Figure:
    """Draw shares of the variance of test accuracy, grid beside random sample."""
    shown = effects[effects["order"] > 0].sort_values("share", ascending=True)
    shown = shown.tail(12)
    canvas, axes = canvas_of(1, 1, 0.9 + 0.27 * len(shown), share=False)
    axis = axes[0, 0]
    share_bars(axis, shown, tr("a factor by itself"), tr("two factors together"))
    axis.set_xlabel(tr("share of the variance of test accuracy over the grid; line: 95% interval over seeds"))
    if len(random):
        drawn = random.set_index("term")["share"].reindex(shown["term"])
        rows = np.arange(len(shown))
        axis.plot(drawn, rows, linestyle="none", marker="D", markersize=4.5, color="#222222", markerfacecolor="white")
        axis.set_xlim(right=max(axis.get_xlim()[1], drawn.max() * 1.05))
        handles = [*axis.get_legend().legend_handles]
        handles.append(
            Line2D(
                [],
                [],
                marker="D",
                linestyle="none",
                color="#222222",
                markerfacecolor="white",
                label=tr("random sample"),
            )
        )
        axis.legend(handles=handles, loc="lower right", frameon=True, edgecolor="none")
    top = effects[effects["order"] > 0].sort_values("share", ascending=False).iloc[0]
    caption = tr(
        "{term} carries the largest share, {share:.1%}. Bars divide the variance over the grid's final runs; what is left "
        "belongs to combinations of three and more factors and to chance. Diamonds: shares of single factors in the random "
        "sample, where rates are not tuned.",
        term=term_name(top["term"]),
        share=top["share"],
    )
    bars = "; ".join(f"{term_name(t)} {s:.1%}" for t, s in zip(shown["term"][::-1], shown["share"][::-1], strict=True))
    alt = tr("Bars: {list}", list=bars)
    return Figure("variance_shares", svg_of(canvas), tr("Shares of the variance"), caption, alt, "effects")


def differences(table: pd.DataFrame) -> Figure:
    """Draw paired differences of every level from its factor's first."""
    canvas, axes = canvas_of(1, 1, 0.8 + 0.235 * (len(table) + 0.6 * table["factor"].nunique()), share=False)
    axis = axes[0, 0]
    position, ticks, labels = 0.0, [], []
    for factor, rows in table.groupby("factor", sort=False):
        for _, row in rows.iterrows():
            sure = row["low"] > 0 or row["high"] < 0
            color = PALETTE[0] if sure else "#777777"
            axis.plot(
                [row["low"], row["high"]], [position, position], color=color, linewidth=1.8, solid_capstyle="butt"
            )
            axis.plot(
                row["difference"],
                position,
                marker="o",
                markersize=5,
                color=color,
                markerfacecolor=color if sure else "white",
            )
            ticks.append(position)
            labels.append(
                tr("{level}  vs  {reference}", level=level_name(row["level"]), reference=level_name(row["reference"]))
            )
            position += 1
        axis.annotate(
            factor_name(str(factor)), (1.01, position - (len(rows) + 1) / 2), xycoords=("axes fraction", "data"),
            va="center", fontweight="bold", fontsize=8.5,
        )  # fmt: skip
        position += 0.6
    axis.set_ylim(position - 0.4, -0.8)
    axis.axvline(0, color="#222222", linewidth=0.8)
    axis.set_yticks(ticks, labels)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:+g}" if value else "0"))
    axis.set_xlabel(tr("difference in test accuracy, percentage points (right of 0: better than the reference)"))
    axis.grid(axis="y", visible=False)
    sure = table[(table["low"] > 0) | (table["high"] < 0)]
    caption = tr(
        "{sure} of {levels} levels differ from their factor's first level beyond chance (filled). Each point is the mean over "
        "pairs of runs that share the seed and every other factor, each at its own tuned rate; lines are 95% intervals over "
        "seeds, not corrected for the number of comparisons.",
        sure=len(sure),
        levels=len(table),
    )
    alt = "; ".join(
        tr(
            "{level} against {reference}: {difference} points ({interval})",
            level=level_name(row["level"]),
            reference=level_name(row["reference"]),
            difference=points(row["difference"]),
            interval=points_interval(row["low"], row["high"]),
        )
        for _, row in table.iterrows()
    )
    title = tr("Each level against its factor's first")
    return Figure("differences", svg_of(canvas), title, caption, alt, "differences")


def interactions(effects: pd.DataFrame, means: pd.DataFrame, study: Study, most: int = 4) -> Figure:
    """Draw heat maps of the strongest interactions."""
    pairs = effects[effects["order"] == 2].nlargest(most, "share")
    columns = 2 if len(pairs) > 1 else 1
    rows = -(-len(pairs) // columns)
    most_levels = max(len(levels) for levels in study.factors.values())
    canvas, axes = canvas_of(rows, columns, max(2.75, 1 + 0.18 * most_levels) * rows, share=False)
    low, high = means["mean"].min(), means["mean"].max()
    for axis in axes.flat[len(pairs) :]:
        axis.set_axis_off()
    for axis, (_, pair) in zip(axes.flat, pairs.iterrows(), strict=False):
        a, b = pair["term"].split(" x ")
        if len(study.factors[a]) < len(study.factors[b]):
            a, b = b, a
        chosen = means[(means["factor_a"] == a) & (means["factor_b"] == b)]
        index, header = "level_a", "level_b"
        if chosen.empty:
            chosen = means[(means["factor_a"] == b) & (means["factor_b"] == a)]
            index, header = header, index
        wide = chosen.pivot(index=index, columns=header, values="mean").reindex(study.factors[a])[
            list(study.factors[b])
        ]
        sns.heatmap(
            wide * 100, ax=axis, cmap="crest", vmin=low * 100, vmax=high * 100, annot=True, fmt=".1f", cbar=False,
            linewidths=0.6, annot_kws={"fontsize": 7.5}, xticklabels=list(map(level_name, wide.columns)),
            yticklabels=list(map(level_name, wide.index)),
        )  # fmt: skip
        axis.set_title(f"{factor_name(a)} × {factor_name(b)}: {pair['share']:.1%}", fontsize=8.5)
        plt.setp(axis.get_xticklabels(), rotation=25, ha="right")
        plt.setp(axis.get_yticklabels(), rotation=0)
        axis.set_xlabel("")
        axis.set_ylabel("")
    top = pairs.iloc[0]
    caption = tr(
        "The strongest pair is {term}. Cells are mean test accuracy in per cent over all other factors and seeds; one colour "
        "scale for all maps. Each title gives the pair's share of the variance.",
        term=term_name(top["term"]),
    )
    alt = tr("Heat maps of mean test accuracy for {terms}", terms=", ".join(term_name(term) for term in pairs["term"]))
    return Figure("interactions", svg_of(canvas), tr("Choices that depend on each other"), caption, alt, "interactions")


def _curves(axis: Axes, rows: pd.DataFrame, position: int) -> None:
    rows = rows.replace(np.inf, np.nan).sort_values("step")
    line = line_of(position)
    axis.fill_between(rows["step"], rows["decile_1"], rows["decile_9"], color=line["color"], alpha=0.08, linewidth=0)
    axis.plot(rows["step"], rows["median"], **line)


def _apart_at_the_end(curves: pd.DataFrame, factors: Iterable[str]) -> str:
    """Say of which factor's levels the median losses lie farthest apart at the end, by their ratio; nothing of one level."""
    last = curves.sort_values("step").groupby(["factor", "level"], observed=True)["median"].last()
    ends = {factor: last[factor].sort_values() for factor in factors if factor in last}
    ratios = {factor: losses.iloc[-1] / losses.iloc[0] for factor, losses in ends.items() if len(losses) > 1}
    if not ratios:
        return ""
    factor = max(ratios, key=lambda each: ratios[each])
    levels, losses = ends[factor].index, ends[factor].tolist()
    return tr(
        "Levels end farthest apart for {factor}: at a median loss of {low} with {best} and of {high} with {worst}.",
        factor=factor_name(factor),
        low=_loss(losses[0]),
        best=level_name(levels[0]),
        high=_loss(losses[-1]),
        worst=level_name(levels[-1]),
    )


def _loss(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else tr("infinity")


def loss_curves(curves: pd.DataFrame, study: Study, scope: str) -> Figure:
    """Draw validation loss over training, one panel a factor."""
    factors = study.varied
    canvas, axes = canvas_of(-(-len(factors) // 2), 2, 2.35 * -(-len(factors) // 2), share=True)
    shown = curves[(curves["scope"] == scope) & (curves["split"] == "validation")]
    for axis in axes.flat[len(factors) :]:
        axis.set_axis_off()
    for axis, factor in zip(axes.flat, factors, strict=False):
        for position, level in enumerate(study.factors[factor]):
            _curves(axis, shown[(shown["factor"] == factor) & (shown["level"] == level)], position)
        axis.set_title(factor_name(factor))
        axis.set_yscale("log")
        axis.tick_params(labelbottom=True)
        axis.set_xlabel(tr("optimizer steps"))
        level_legend(axis, study.factors[factor], loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
    finite = shown["decile_9"].replace(np.inf, np.nan)
    axes[0, 0].set_ylim(shown["decile_1"].min() * 0.8, min(finite.quantile(0.99) * 1.3, 12))
    for axis in axes[:, 0]:
        axis.set_ylabel(tr("validation loss (nats, log)"))
    if scope == "level":
        title = tr("Loss over training, by factor")
        explained = tr(
            "Median over all final runs of a level (line) and the middle 80% of them (band): how a level does on average "
            "over everything it may be combined with. A run that diverged counts as an infinite loss."
        )
    else:
        title = tr("Loss over training, best arm of each level")
        explained = tr(
            "For each level the one combination with the best validation accuracy: median over its final seeds (line) and "
            "from the 10th to the 90th percentile of them (band). What a level can do when all else suits it."
        )
    caption = f"{_apart_at_the_end(shown, factors)} {explained}".lstrip()
    alt = tr(
        "{title}: validation loss against optimizer steps, one panel for each of {factors}",
        title=title,
        factors=", ".join(map(factor_name, factors)),
    )
    return Figure(f"loss_{scope}", svg_of(canvas), title, caption, alt, "curves")


def units(table: pd.DataFrame, study: Study) -> Figure:
    """Draw dead and saturated units over training, by initialisation and activation."""
    inits = study.factors["init"]
    canvas, axes = canvas_of(2, len(inits), 4.3, share=False)
    shown = table[table["by"] == "init"]
    deepest = shown["depth"].max()
    for row, column in enumerate(("dead_fraction", "saturated_fraction")):
        for panel, init in enumerate(inits):
            axis = axes[row, panel]
            for position, activation in enumerate(study.factors["activation"]):
                rows = shown[
                    (shown["level"] == init) & (shown["activation"] == activation) & (shown["depth"] == deepest)
                ]
                axis.plot(rows["step"], rows[column], **line_of(position))
            axis.set_ylim(-0.02 * (1 if row else 0.3), 1.0 if row else max(shown["dead_fraction"].max() * 1.15, 0.02))
            percent_axis(axis, "y")
            axis.tick_params(labelleft=panel == 0)
            if row == 0:
                axis.set_title(level_name(init))
            else:
                axis.set_xlabel(tr("optimizer steps"))
    axes[0, 0].set_ylabel(tr("dead units"))
    axes[1, 0].set_ylabel(tr("saturated (unit, example) pairs"))
    level_legend(axes[0, -1], study.factors["activation"], loc="best", fontsize=7)
    last = shown[(shown["step"] == shown["step"].max()) & (shown["depth"] == deepest)]
    worst = last.loc[last["dead_fraction"].idxmax()]
    caption = tr(
        "Most units die with {activation} under {init}: {share:.1%} of the last hidden layer at the end, mean over the final "
        "runs. Dead: no training example gives the unit a slope above a millionth of its largest; saturated: share of (unit, "
        "example) pairs with slope under 1% of the largest, which for ReLU and its kin includes every pair at rest. Last "
        "hidden layer; other layers are in the table.",
        activation=level_name(worst["activation"]),
        init=level_name(worst["level"]),
        share=worst["dead_fraction"],
    )
    alt = tr(
        "Dead and saturated shares over training by activation, one column for each of {inits}",
        inits=", ".join(map(level_name, inits)),
    )
    return Figure("units", svg_of(canvas), tr("Units over training"), caption, alt, "units")


def time_to_target(final: pd.DataFrame, study: Study, factors: Iterable[str]) -> Figure:
    """Draw the share of the final runs that have reached each target, against steps."""
    factors = list(factors)
    canvas, axes = canvas_of(len(factors), len(study.targets), 2.3 * len(factors), share=True)
    horizon = float(final["steps_run"].max())
    for row, factor in enumerate(factors):
        for column, target in enumerate(study.targets):
            axis = axes[row, column]
            for position, level in enumerate(study.factors[factor]):
                steps = final.loc[final[factor] == level, target.column].dropna().to_numpy()
                if not len(steps):
                    continue
                reached, runs = np.unique(steps[np.isfinite(steps)], return_counts=True)
                shares = np.cumsum(runs) / len(steps)
                last = shares[-1] if len(shares) else 0.0
                axis.step([0, *reached, horizon], [0, *shares, last], where="post", **line_of(position))
            if row == 0:
                axis.set_title(target_name(target))
            if row == len(factors) - 1:
                axis.set_xlabel(tr("optimizer steps"))
            axis.set_ylim(0, 1.02)
            axis.set_xlim(0, horizon)
            percent_axis(axis, "y")
        axes[row, 0].set_ylabel(tr("runs that got there"))
        level_legend(axes[row, 0], study.factors[factor], loc="lower right", fontsize=7, title=factor_name(factor))
    never = float(np.isinf(final[study.targets[-1].column]).mean())
    caption = tr(
        "Each curve rises by one run at the step of the first evaluation (one an epoch) that meets the target, and stays below "
        "100% for the runs that never do: {never:.1%} of all final runs never reach {target}.",
        never=never,
        target=target_name(study.targets[-1]),
    )
    by = joined([factor_name(factor) for factor in factors])
    alt = tr("Share of runs that reached each target against steps, by {factors}", factors=by)
    return Figure("time_to_target", svg_of(canvas), tr("How soon runs get there"), caption, alt, "convergence")


def _worst_fall(table: pd.DataFrame) -> str:
    """Say which level's median falls farthest from its best rate to its worst; nothing where there is one rate."""
    medians = table.groupby(["optimizer", "factor", "level"], observed=True)["median"].agg(["max", "min"]).reset_index()
    falls = medians["max"] - medians["min"]
    if not (falls > 0).any():
        return ""
    farthest = medians.iloc[int(falls.argmax())]
    return tr(
        "A wrong rate costs most with {factor} {level} and {optimizer}: the median is {best} at the best rate and {worst} at the "
        "worst.",
        factor=factor_name(farthest["factor"]),
        level=level_name(farthest["level"]),
        optimizer=level_name(farthest["optimizer"]),
        best=percent(farthest["max"]),
        worst=percent(farthest["min"]),
    )


def rate_sensitivity(table: pd.DataFrame, study: Study) -> list[Figure]:
    """Draw validation accuracy of the tuning runs against learning rate: a column an optimizer, a row another factor."""
    if table.empty:
        return []
    factors = list(table["factor"].unique())
    every = study.factors["optimizer"]
    once = table[table["factor"] == factors[0]]
    title = tr("How much the learning rate matters")
    caption = tr(
        "Median and middle 80% over {runs:,} tuning runs, from which {cells:,} cells chose their rates. A band that stays high "
        "over a wide range means a choice that forgives a wrong rate.",
        runs=int(once["trials"].sum()),
        cells=once["chosen"].sum(),
    )
    caption = f"{_worst_fall(table)} {caption}".lstrip()
    drawn = []
    for end, part, page in pages_of(len(every), RATE_PANELS):
        optimizers = every[page]
        high = min(1.9 * len(factors), RATE_HEIGHT)
        canvas, axes = canvas_of(len(factors), len(optimizers), 0.5 + high, share=False)
        for (row, factor), (column, optimizer) in product(enumerate(factors), enumerate(optimizers)):
            axis = axes[row, column]
            own = table[(table["optimizer"] == optimizer) & (table["factor"] == factor)]
            _accuracy_by_rate(axis, own, study.factors[factor])
            axis.tick_params(labelleft=column == 0, labelbottom=row == len(factors) - 1)
        for axis, optimizer in zip(axes[0], optimizers, strict=True):
            axis.set_title(level_name(optimizer))
        for axis in axes[-1]:
            axis.set_xlabel(tr("learning rate (log)"))
        for row, factor in zip(axes, factors, strict=True):
            row[0].set_ylabel(tr("validation accuracy"))
            beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "fontsize": 7}
            level_legend(row[-1], study.factors[factor], title=factor_name(factor), **beside)
        alt = tr(
            "Validation accuracy against learning rate for {optimizers}, by {factors}",
            optimizers=", ".join(map(level_name, optimizers)),
            factors=joined([factor_name(factor) for factor in factors]),
        )
        drawn.append(Figure(f"rates{end}", svg_of(canvas), f"{title}{part}", caption, alt, "rates"))
    return drawn


def _accuracy_by_rate(axis: Axes, table: pd.DataFrame, levels: Iterable[str]) -> None:
    for position, level in enumerate(levels):
        rows = table[table["level"] == level]
        rates, line = rows["learning_rate"], line_of(position)
        axis.fill_between(rates, rows["decile_1"], rows["decile_9"], color=line["color"], alpha=0.12, linewidth=0)
        axis.plot(rates, rows["median"], marker=MARKERS[position % len(MARKERS)], markersize=4, **line)
    axis.set_xscale("log")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_ylim(0, 1.0)
    percent_axis(axis, "y")


def random_sample(draws: pd.DataFrame, study: Study) -> Figure:
    """Draw test accuracy of the random draws against their rates."""
    canvas, axes = canvas_of(1, 1, 2.9, share=False)
    axis = axes[0, 0]
    shown = draws.head(DRAWN_POINTS)  # draws come by trial id, so the first are as good as any
    for position, optimizer in enumerate(study.factors["optimizer"]):
        rows = shown[shown["optimizer"] == optimizer]
        axis.plot(
            rows["learning_rate"], rows["test_accuracy"], linestyle="none", marker=MARKERS[position % len(MARKERS)],
            markersize=3.6, alpha=0.75, color=PALETTE[position % 5], markeredgewidth=0, label=level_name(optimizer),
        )  # fmt: skip
    axis.set_xscale("log")
    axis.set_ylim(0, 1.0)
    percent_axis(axis, "y")
    axis.set_xlabel(tr("learning rate (log-uniform over its optimizer's range)"))
    axis.set_ylabel(tr("test accuracy"))
    axis.legend(frameon=False, loc="lower left")
    best = draws["test_accuracy"].max()
    above = float((draws["test_accuracy"] >= best - 0.02).mean())
    caption = tr(
        "{draws:,} draws: a level of every factor at random, a rate at random. {near:.0%} of them come within two points of the "
        "best, {best:.1%}.",
        draws=len(draws),
        near=above,
        best=best,
    )
    if len(shown) < len(draws):
        part = tr("Shown: {shown:,} of them.", shown=len(shown))
        caption = f"{caption} {part}"
    title = tr("Accuracy of random draws against their rate")
    return Figure("random_sample", svg_of(canvas), title, caption, caption, "trials")
