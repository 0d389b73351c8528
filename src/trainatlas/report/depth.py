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
from trainatlas.report.language import mark, tr
from trainatlas.report.wording import capital, factor_name, joined, level_name
from trainatlas.study.config import Study
from trainatlas.train.records import BINS

LISTED_ARMS = 80
SHOWN_ACTIVATIONS, SHOWN_NORMALISATIONS, SHOWN_STARTS = 6, 4, 8
"""Panels of a figure by activation and normalisation, and rows of histograms, at most."""


@dataclass(frozen=True)
class _Way:
    """One of the two ways through a network: what is spread, in words that are marked, and the columns that say how."""

    name: str
    of: str
    columns: str
    quantity: str
    first_text: str

    @property
    def direction(self) -> str:
        """Its name in words."""
        return tr(self.name)

    @property
    def spread(self) -> str:
        """What is spread, in words."""
        return tr(self.of)

    @property
    def from_first(self) -> str:
        """Where it leads, in words."""
        return tr(self.first_text)


_FORWARD = _Way(
    mark("forward"), mark("activations"), "activation", "activation", mark("from one hidden layer to the next")
)
_BACKWARD = _Way(
    mark("backward"), mark("gradients"), "backward", "gradient", mark("from one hidden layer back to the one before")
)
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
        tr("Layer by layer"),
        [
            tr(
                "What the start of training meets: how outputs change on their way forward through the hidden layers, and "
                "gradients on their way back, before the first step. The gradient is that of the cross-entropy, summed over "
                "examples, by the input of a layer's activation. With BatchNorm both are measured with the statistics of the "
                "examples looked at, and gradients do not pass through these statistics."
            )
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
    return tr(
        "Before training and {normalised}, the factors by which one more hidden layer multiplies the spread of activations "
        "(forward) and gradients (backward) are nearest to 1 for {nearest}; they are farthest from it for {farthest}. In "
        "brackets: 95% intervals over seeds.",
        normalised=_normalised(first),
        nearest=kept,
        farthest=_arm_with_factors(_by_distance(rows, *both).iloc[-1]),
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
        axis.set_xlabel(tr("hidden layer"))
    canvas.supylabel(tr("standard deviation of {spread} (log)", spread=way.spread), fontsize=8.5)
    handles = [
        Line2D([], [], label=level_name(init), marker=MARKERS[i % 6], markersize=3, **line_of(i))
        for i, init in enumerate(inits)
    ]
    canvas.legend(
        handles=handles, loc="outside lower center", ncols=min(len(inits), 4), frameon=False, handlelength=3.2
    )
    title = tr("Spread of {spread} by layer", spread=way.spread)
    how = tr("Geometric means over seeds before training, with 95% intervals.")
    caption = f"{_gain_sentence(study, gains, way)} {how}"
    if way is _FORWARD:
        saturated = tr("Outputs may also stay level at an activation's ends, saturated: the histograms tell.")
        caption += f" {saturated}"
    left_out = [
        tr(
            "{number} more levels of {factor}",
            number=len(study.factors[factor]) - len(shown),
            factor=factor_name(factor),
        )
        for factor, shown in (("activation", activations), ("normalisation", normalisations))
        if len(shown) < len(study.factors[factor])
    ]
    if left_out:
        not_drawn = tr("Not drawn: {list}.", list=joined(left_out))
        caption += f" {not_drawn}"
    alt = tr(
        "{title}, log scale, a line for each of {inits}; a panel for each of {activations}, {normalisations}.",
        title=title,
        inits=", ".join(map(level_name, inits)),
        activations=", ".join(map(level_name, activations)),
        normalisations=joined([_normalised(level) for level in normalisations]),
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
                tr(
                    "{activation} is nearest to level with {nearest} ({nearest_factor} a layer) and farthest with {farthest} "
                    "({farthest_factor})",
                    activation=level_name(activation),
                    nearest=level_name(near["init"]),
                    nearest_factor=_factor(near[way.name]),
                    farthest=level_name(far["init"]),
                    farthest_factor=_factor(far[way.name]),
                )
            )
    sentences = []
    if parts:
        normalised = capital(_normalised(first))
        sentences.append(
            tr("{normalised}, {way}: {list}.", normalised=normalised, way=way.from_first, list="; ".join(parts))
        )
    for normalisation in others:
        values = gains.loc[gains["normalisation"] == normalisation, way.name]
        if len(values):
            sentences.append(
                tr(
                    "{normalised} all arms lie between {smallest} and {largest} a layer.",
                    normalised=capital(_normalised(normalisation)),
                    smallest=_factor(values.min()),
                    largest=_factor(values.max()),
                )
            )
    return " ".join(sentences)


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
    note = tr(
        "By what one more hidden layer multiplies the standard deviation of outputs (forward) and gradients (backward): the "
        "ratio between the first and the last hidden layer, its root by the layers between; geometric mean over seeds before "
        "training, with its 95% interval."
    )
    if len(rows) > LISTED_ARMS:
        cut = tr("The first {shown} of {all:,}; all are in the table behind.", shown=LISTED_ARMS, all=len(rows))
        note = f"{note} {cut}"
    header = [f"{way.direction}, {_normalised(normalisation)}" for normalisation in normalisations for way in _WAYS]
    return Table(
        tr("What a layer does to the spread"),
        (tr("activation"), tr("initialisation"), *header),
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
                axes[i, j].set_title(tr("layer {depth}", depth=depth), fontsize=8.5)
        axes[i, 0].set_ylabel(level_name(start), rotation=0, ha="right", va="center", fontsize=8)
    last = shown[shown["depth"] == depths[-1]]
    span = last.groupby(by)["high"].max() - last.groupby(by)["low"].min()
    fullest = last.loc[last["share"].idxmax()]
    one = shown.drop_duplicates(by).iloc[0]
    fixed = [f for f in ("activation", "init", "normalisation") if f != by]
    setting = ", ".join(level_name(one[f]) if f != "normalisation" else _normalised(one[f]) for f in fixed)
    caption = tr(
        "In layer {depth} {spread} span {widest} with {widest_level} and {narrowest} with {narrowest_level}; the fullest of all "
        "bins holds {share:.0%} ({level}, near {place}). One run each, before training: {setting}. {bins} bins between the "
        "extremes, which stand below each panel; heights are each panel's own.",
        depth=depths[-1],
        spread=way.spread,
        widest=_short(span.max()),
        widest_level=level_name(span.idxmax()),
        narrowest=_short(span.min()),
        narrowest_level=level_name(span.idxmin()),
        share=fullest["share"],
        level=level_name(fullest[by]),
        place=_short((fullest["low"] + fullest["high"]) / 2),
        setting=setting,
        bins=BINS,
    )
    title = tr("Histograms of {spread} by layer", spread=way.spread)
    alt = tr(
        "{title}: rows {levels}; columns layers {depths}",
        title=title,
        levels=", ".join(map(level_name, starts)),
        depths=", ".join(map(str, depths)),
    )
    return Figure(f"histograms_{way.name}", svg_of(canvas), title, caption, alt, "histograms")


def _panel(axis: Axes, bins: pd.DataFrame, color: tuple[float, float, float]) -> None:
    axis.set_yticks([])
    axis.grid(visible=False)
    if bins.empty:
        axis.set_xticks([])
        axis.text(0.5, 0.5, tr("not finite"), ha="center", va="center", transform=axis.transAxes, fontsize=7.5)
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
    return tr("without normalisation") if level == "none" else tr("with {level}", level=level_name(level))


def _factor(value: float) -> str:
    return f"×{value:.2f}" if 0.1 <= value < 100 else f"×{value:.2g}"


def _factor_with_interval(row: pd.Series, way: str) -> str:
    low, high = row[f"{way}_low"], row[f"{way}_high"]
    span = {"low": _factor(low)[1:], "high": _factor(high)[1:]}
    interval = tr("no interval") if np.isnan(low) else tr("{low} to {high}", **span)
    return f"{_factor(row[way])} ({interval})"


def _arm_with_factors(row: pd.Series) -> str:
    return tr(
        "{activation} with {init}, forward {forward} and backward {backward}",
        activation=level_name(row["activation"]),
        init=level_name(row["init"]),
        **{way.name: _factor_with_interval(row, way.name) for way in _WAYS},
    )


def _by_distance(gains: pd.DataFrame, *ways: str) -> pd.DataFrame:
    """Order arms by how far their factors are from 1, on a log scale."""
    with np.errstate(divide="ignore"):
        distance = np.abs(np.log(gains[list(ways)].to_numpy())).sum(1)
    return gains.iloc[np.argsort(distance, kind="stable")]
