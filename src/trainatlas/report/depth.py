"""Layer by layer: how the spread of outputs and gradients changes with depth, and how they are distributed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from trainatlas.analysis.layers import ARM
from trainatlas.report.blocks import Figure, Section, Table
from trainatlas.report.drawing import MARKERS, PALETTE, canvas_of, line_of, svg_of
from trainatlas.report.wording import capital, joined, level_name
from trainatlas.study.config import Study
from trainatlas.train.records import BINS

LISTED_ARMS = 80
SHOWN_ACTIVATIONS, SHOWN_NORMALISATIONS, SHOWN_STARTS = 6, 4, 8
"""Panels of a figure by activation and normalisation, and rows of histograms, at most."""


@dataclass(frozen=True)
class _Way:
    """One of the two ways through a network: what is spread, and the columns that say how."""

    name: str
    of: str
    columns: str
    quantity: str
    from_first: str


_FORWARD = _Way("forward", "activations", "activation", "activation", "from one hidden layer to the next")
_BACKWARD = _Way("backward", "gradients", "backward", "gradient", "from one hidden layer back to the one before")
_WAYS = (_FORWARD, _BACKWARD)


def layer_section(study: Study, tables: dict[str, pd.DataFrame]) -> Section:
    """Return the section on depth, for a study with full probes."""
    hidden = tables["layers"]["layer"].isin(tables["units"]["layer"]) & (tables["layers"]["step"] == 0)
    layers, gains, histograms = tables["layers"][hidden], tables["layer_gains"], tables["histograms"]
    histograms = histograms[histograms["layer"].isin(tables["units"]["layer"])]
    blocks: list[Figure | Table] = [_spread(study, layers, gains, way) for way in _WAYS]
    blocks.append(_gain_table(study, gains))
    if len(histograms):
        blocks += [_histograms(study, histograms, way) for way in _WAYS]
    return Section(
        "layers",
        "Layer by layer",
        [
            "What the start of training meets: how outputs change on their way forward through the hidden layers, and "
            "gradients on their way back, before the first step. The gradient is that of the cross-entropy, summed over "
            "examples, by the input of a layer's activation. With BatchNorm both are measured with the statistics of the "
            "examples looked at, and gradients do not pass through these statistics.",
        ],
        blocks,
    )


def depth_finding(study: Study, gains: pd.DataFrame) -> str:
    """Return in a sentence under which initialisation each activation keeps signals level both ways, and the worst case."""
    first = study.factors["normalisation"][0]
    rows = gains[gains["normalisation"] == first]
    shown = [rows[rows["activation"] == activation] for activation in study.factors["activation"][:SHOWN_ACTIVATIONS]]
    both = [way.name for way in _WAYS]
    kept = "; ".join([_arm_with_factors(_by_distance(own, *both).iloc[0]) for own in shown if len(own)])
    return (
        f"Before training and {_normalised(first)}, the factors by which one more hidden layer multiplies the spread of "
        f"activations (forward) and gradients (backward) are nearest to 1 for {kept}; they are farthest from it for "
        f"{_arm_with_factors(_by_distance(rows, *both).iloc[-1])}. In brackets: 95% intervals over seeds."
    )


def _spread(study: Study, layers: pd.DataFrame, gains: pd.DataFrame, way: _Way) -> Figure:
    """Draw the spread by depth: a row of panels for each activation, normalisations side by side, inits as lines."""
    inits = study.factors["init"]
    activations = study.factors["activation"][:SHOWN_ACTIVATIONS]
    normalisations = study.factors["normalisation"][:SHOWN_NORMALISATIONS]
    column, low, high = f"{way.columns}_std", f"{way.columns}_low", f"{way.columns}_high"
    canvas, axes = canvas_of(len(activations), len(normalisations), 0.75 + 1.55 * len(activations), share="row")
    drawn = layers.assign(**{column: layers[column].where(layers[column] > 0).replace(np.inf, np.nan)})
    for i, activation in enumerate(activations):
        for j, normalisation in enumerate(normalisations):
            axis = axes[i, j]
            own = drawn[(drawn["activation"] == activation) & (drawn["normalisation"] == normalisation)]
            for position, init in enumerate(inits):
                rows = own[own["init"] == init].sort_values("depth")
                line = line_of(position)
                axis.fill_between(rows["depth"], rows[low], rows[high], color=line["color"], alpha=0.15, linewidth=0)
                axis.plot(rows["depth"], rows[column], marker=MARKERS[position % 6], markersize=3, **line)
            axis.set_title(f"{level_name(activation)}, {_normalised(normalisation)}", fontsize=8.5)
            axis.set_yscale("log")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in axes[-1]:
        axis.set_xlabel("hidden layer")
    canvas.supylabel(f"standard deviation of {way.of} (log)", fontsize=8.5)
    handles = [
        Line2D([], [], label=level_name(init), marker=MARKERS[i % 6], markersize=3, **line_of(i))
        for i, init in enumerate(inits)
    ]
    canvas.legend(
        handles=handles, loc="outside lower center", ncols=min(len(inits), 4), frameon=False, handlelength=3.2
    )
    title = f"Spread of {way.of} by layer"
    caption = f"{_gain_sentence(study, gains, way)} Geometric means over seeds before training, with 95% intervals."
    if way is _FORWARD:
        caption += " Outputs may also stay level at an activation's ends, saturated: the histograms tell."
    left_out = [
        f"{len(study.factors[factor]) - len(shown)} more levels of {factor}"
        for factor, shown in (("activation", activations), ("normalisation", normalisations))
        if len(shown) < len(study.factors[factor])
    ]
    if left_out:
        caption += f" Not drawn: {joined(left_out)}."
    alt = (
        f"{title}, log scale, a line for each of {', '.join(map(level_name, inits))}; a panel for each of "
        f"{', '.join(map(level_name, activations))}, {' and '.join(map(_normalised, normalisations))}."
    )
    return Figure(f"layers_{way.name}", svg_of(canvas), title, caption, alt, "layers")


def _gain_sentence(study: Study, gains: pd.DataFrame, way: _Way) -> str:
    """Say for the first normalisation who stays level and who strays, for the others the whole range."""
    first, *others = study.factors["normalisation"][:SHOWN_NORMALISATIONS]
    parts = []
    for activation in study.factors["activation"][:SHOWN_ACTIVATIONS]:
        rows = gains[(gains["activation"] == activation) & (gains["normalisation"] == first)]
        if len(rows):
            ordered = _by_distance(rows, way.name)
            near, far = ordered.iloc[0], ordered.iloc[-1]
            parts.append(
                f"{level_name(activation)} is nearest to level with {level_name(near['init'])} ({_factor(near[way.name])} a "
                f"layer) and farthest with {level_name(far['init'])} ({_factor(far[way.name])})"
            )
    text = f"{capital(_normalised(first))}, {way.from_first}: {'; '.join(parts)}." if parts else ""
    for normalisation in others:
        values = gains.loc[gains["normalisation"] == normalisation, way.name]
        if len(values):
            text += (
                f" {capital(_normalised(normalisation))} all arms lie between {_factor(values.min())} and "
                f"{_factor(values.max())} a layer."
            )
    return text


def _gain_table(study: Study, gains: pd.DataFrame) -> Table:
    normalisations = study.factors["normalisation"][:SHOWN_NORMALISATIONS]
    found = {tuple(row[factor] for factor in ARM): row for _, row in gains.iterrows()}
    rows = []
    for activation in study.factors["activation"]:
        for init in study.factors["init"]:
            own = [found.get((activation, init, normalisation)) for normalisation in normalisations]
            cells = ["–" if row is None else _factor_with_interval(row, way.name) for row in own for way in _WAYS]
            if any(row is not None for row in own):
                rows.append((level_name(activation), level_name(init), *cells))
    note = (
        "By what one more hidden layer multiplies the standard deviation of outputs (forward) and gradients (backward): the "
        "ratio between the first and the last hidden layer, its root by the layers between; geometric mean over seeds before "
        "training, with its 95% interval."
    )
    if len(rows) > LISTED_ARMS:
        note += f" The first {LISTED_ARMS} of {len(rows):,}; all are in the table behind."
    header = [f"{way.name}, {_normalised(normalisation)}" for normalisation in normalisations for way in _WAYS]
    return Table(
        "What a layer does to the spread",
        ("activation", "initialisation", *header),
        rows[:LISTED_ARMS],
        note,
        "layer_gains",
        text_columns=2,
    )


def _histograms(study: Study, histograms: pd.DataFrame, way: _Way) -> Figure:
    """Draw histograms: a row for each start that was chosen, a column for a few of the hidden layers."""
    by = "init" if len(study.factors["init"]) > 1 else "activation"
    shown = histograms[histograms["quantity"] == way.quantity]
    starts = [level for level in study.factors[by] if (shown[by] == level).any()][:SHOWN_STARTS]
    depths = sorted(shown["depth"].unique())
    depths = [depths[i] for i in sorted({0, min(1, len(depths) - 1), (len(depths) - 1) // 2, len(depths) - 1})]
    canvas, axes = canvas_of(len(starts), len(depths), 0.35 + 0.82 * len(starts), share=False)
    for i, start in enumerate(starts):
        for j, depth in enumerate(depths):
            _panel(axes[i, j], shown[(shown[by] == start) & (shown["depth"] == depth)], PALETTE[way is _BACKWARD])
            if i == 0:
                axes[i, j].set_title(f"layer {depth}", fontsize=8.5)
        axes[i, 0].set_ylabel(level_name(start), rotation=0, ha="right", va="center", fontsize=8)
    last = shown[shown["depth"] == depths[-1]]
    span = last.groupby(by)["high"].max() - last.groupby(by)["low"].min()
    fullest = last.loc[last["share"].idxmax()]
    one = shown.drop_duplicates(by).iloc[0]
    fixed = [f for f in ("activation", "init", "normalisation") if f != by]
    setting = ", ".join(level_name(one[f]) if f != "normalisation" else _normalised(one[f]) for f in fixed)
    caption = (
        f"In layer {depths[-1]} {way.of} span {_short(span.max())} with {level_name(span.idxmax())} and "
        f"{_short(span.min())} with {level_name(span.idxmin())}; the fullest of all bins holds {fullest['share']:.0%} "
        f"({level_name(fullest[by])}, near {_short((fullest['low'] + fullest['high']) / 2)}). One run each, before training: "
        f"{setting}. {BINS} bins between the extremes, which stand below each panel; heights are each panel's own."
    )
    title = f"Histograms of {way.of} by layer"
    alt = f"{title}: rows {', '.join(map(level_name, starts))}; columns layers {', '.join(map(str, depths))}"
    return Figure(f"histograms_{way.name}", svg_of(canvas), title, caption, alt, "histograms")


def _panel(axis: Axes, bins: pd.DataFrame, color: tuple[float, float, float]) -> None:
    axis.set_yticks([])
    axis.grid(visible=False)
    if bins.empty:
        axis.set_xticks([])
        axis.text(0.5, 0.5, "not finite", ha="center", va="center", transform=axis.transAxes, fontsize=7.5)
        return
    low, high = bins["low"].min(), bins["high"].max()
    if low == high:
        axis.axvline(low, color=color, linewidth=2)
        axis.set_xticks([low], [_short(low)], fontsize=6.5)
        return
    shares = np.zeros(BINS)
    shares[((bins["low"] - low) / (high - low) * BINS).round().astype(int)] = bins["share"]
    axis.stairs(shares, np.linspace(low, high, BINS + 1), fill=True, color=color)
    axis.set_xlim(low, high)
    axis.set_ylim(0, shares.max() * 1.08)
    axis.set_xticks([low, high], [_short(low), _short(high)], fontsize=6.5)
    left, right = axis.get_xticklabels()
    left.set_horizontalalignment("left")
    right.set_horizontalalignment("right")


def _short(value: float) -> str:
    return f"{value:.2g}".replace("-", "−")


def _normalised(level: str) -> str:
    return "without normalisation" if level == "none" else f"with {level_name(level)}"


def _factor(value: float) -> str:
    return f"×{value:.2f}" if 0.1 <= value < 100 else f"×{value:.2g}"


def _factor_with_interval(row: pd.Series, way: str) -> str:
    low, high = row[f"{way}_low"], row[f"{way}_high"]
    interval = "no interval" if np.isnan(low) else f"{_factor(low)[1:]} to {_factor(high)[1:]}"
    return f"{_factor(row[way])} ({interval})"


def _arm_with_factors(row: pd.Series) -> str:
    factors = " and ".join(f"{way.name} {_factor_with_interval(row, way.name)}" for way in _WAYS)
    return f"{level_name(row['activation'])} with {level_name(row['init'])}, {factors}"


def _by_distance(gains: pd.DataFrame, *ways: str) -> pd.DataFrame:
    """Order arms by how far their factors are from 1, on a log scale."""
    with np.errstate(divide="ignore"):
        distance = np.abs(np.log(gains[list(ways)].to_numpy())).sum(1)
    return gains.iloc[np.argsort(distance, kind="stable")]
