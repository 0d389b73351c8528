"""The section on search: what a budget finds, by which search; `trainatlas.report.screening` tells what may be spared."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from trainatlas.report import screening
from trainatlas.report.blocks import Figure, Section, Table
from trainatlas.report.differences import difference_cells, difference_in_words, with_interval
from trainatlas.report.drawing import MARKERS, canvas_of, line_of, percent_axis, svg_of
from trainatlas.report.language import mark, tr, trn
from trainatlas.report.wording import joined, percent, percent_interval, points, word
from trainatlas.study.config import Study

TABLES = (
    "search_rounds",
    "search_regions",
    "search",
    "search_differences",
    "rate_laws",
    "range_edges",
    *screening.TABLES,
)
"""The tables of the analysis that the section rests on."""
TOLD_BUDGET = 16
"""Runs of a search, or settings where their rates are tuned, that sentences speak of, at most."""

_RUNS = {
    "tuning": mark("a grid's tuning runs"),
    "final": mark("settings with tuned rates"),
    "random": mark("the random sample"),
}
_ORDER = [("tuning", "grid"), ("tuning", "random"), ("random", "random"), ("final", "grid"), ("final", "random")]
_FOUND = {
    "grid": mark("with {budget:,} runs grid search over {runs} finds {accuracy}"),
    "random": mark("with {budget:,} runs random search over {runs} finds {accuracy}"),
}
_GAINS = {
    "tuning": mark("{gain} with {budget:,} runs of the same tuning runs, random the better in {share} of searches"),
    "random": mark(
        "{gain} with {budget:,} runs of the random sample, against that grid, random the better in {share} of searches"
    ),
    "final": mark(
        "{gain} with {budget:,} runs where every setting comes with its tuned rate, random the better in {share} of searches"
    ),
}
_STRATEGIES = {
    "coarse_to_fine": mark("coarse to fine"),
    "successive_halving": mark("successive halving"),
    "bayesian": mark("bayesian"),
}
_PLACES = {"": mark("inside"), "low": mark("at the low edge"), "high": mark("at the high edge")}
_CUTS = {"edge": mark("next to the cut"), "inside": mark("elsewhere")}


def search_section(study: Study, tables: dict[str, pd.DataFrame]) -> Section:
    """Return the section; a study that cannot feed a part of it is told so in a line."""
    paragraphs = [
        *_by_search(tables["search_rounds"], tables["search_regions"]),
        tr(
            "What follows is simulated on the runs of this study. A search sees the validation accuracy of one seed's runs and "
            "takes the best; budgets count every run that is trained, those that tune a rate among them."
        ),
        _grid_or_random(tables["search_differences"]),
        _log_or_linear(study, tables["rate_laws"]),
        _edges(tables["range_edges"]),
        *screening.spared_in_words(tables),
    ]
    blocks: list[Figure | Table] = []
    if len(tables["search_rounds"]):
        blocks.append(_rounds_table(tables["search_rounds"]))
    if len(tables["search_regions"]):
        blocks.append(_regions_table(tables["search_regions"]))
    if len(tables["search"]):
        blocks.append(best_found(tables["search"]))
    if len(tables["search_differences"]):
        blocks.append(_differences_table(tables["search_differences"]))
    if (tables["rate_laws"]["budget"] > 0).any():
        blocks.append(_laws_table(tables["rate_laws"]))
    if len(tables["range_edges"]):
        blocks.append(_edges_table(tables["range_edges"]))
    return Section("search", tr("Search"), paragraphs, [*blocks, *screening.spared_blocks(tables)])


def can_be_fed(tables: dict[str, pd.DataFrame], names: Sequence[str] = TABLES) -> bool:
    """Return whether any of the section's tables says something."""
    return any(len(tables[name]) for name in names)


def _by_search(rounds: pd.DataFrame, regions: pd.DataFrame) -> list[str]:
    """Say of each search what it found, and of a search from coarse to fine whether that was an improvement."""
    said = []
    for sample, rows in rounds.groupby("sample", sort=False):
        edges = regions[(regions["sample"] == sample) & (regions["edge"] != "")]
        sentences = [_best(str(sample), rows[rows["stage"] != "winner"])]
        for _, row in rows[rows["stage"] == "winner"].iterrows():
            sentences.append(
                tr(
                    "On fresh seeds the best reaches a test accuracy of {accuracy} ({interval}).",
                    accuracy=percent(row["test_accuracy"]),
                    interval=percent_interval(row["test_low"], row["test_high"]),
                )
            )
        if len(edges):
            values = [
                tr("{name} (best {value:.3g})", name=row["name"], value=row["best"]) for _, row in edges.iterrows()
            ]
            sentences.append(tr("A best value lay at the edge of its range: {list}.", list=joined(values)))
        said.append(" ".join(sentences))
    return said


def _best(sample: str, rounds: pd.DataFrame) -> str:
    """Say what a search found before its winners were trained again."""
    best = _row(rounds, int(rounds["validation_accuracy"].to_numpy().argmax()))
    strategy = best["strategy"]
    clauses = [
        tr(
            "Search {sample} ({strategy}). {trials:,} trials, {epochs:,} epochs in all: validation accuracy {accuracy} with "
            "{setting}",
            sample=sample,
            strategy=tr(_STRATEGIES.get(strategy, strategy)),
            trials=rounds["trials"].sum(),
            epochs=rounds["epochs"].max(),
            accuracy=percent(best["validation_accuracy"]),
            setting=best["setting"],
        )
    ]
    stages = rounds.groupby("stage")["validation_accuracy"].max()
    if "fine" in stages:
        clauses.append(tr("the best of the coarse stage ended at {accuracy}", accuracy=percent(stages["coarse"])))
    last = _row(rounds, -1)
    if not math.isnan(last["random_accuracy"]):
        clauses.append(
            tr(
                "random draws for as many epochs are expected to find {accuracy}",
                accuracy=percent(last["random_accuracy"]),
            )
        )
    return f"{'; '.join(clauses)}."


def _rounds_table(rounds: pd.DataFrame) -> Table:
    rows = [
        (
            row["sample"],
            word(row["stage"]),
            f"{row['round']}",
            f"{row['trials']:,}",
            f"{row['lost']:,}",
            f"{row['epochs']:,}",
            percent(row["validation_accuracy"]),
            percent(row["random_accuracy"]),
            _tested(row),
        )
        for _, row in rounds.iterrows()
    ]
    return Table(
        tr("What each search found, round by round"),
        (
            tr("search"),
            tr("stage"),
            tr("round"),
            tr("trials"),
            tr("lost"),
            tr("epochs"),
            tr("validation"),
            tr("random"),
            tr("test"),
        ),
        rows,
        tr(
            "Epochs: of all trials so far. Validation: of the round's best trial, at its own end. Random: expected of the best "
            "of as many draws of the random sample as these epochs pay for. Test: of that trial, flattered by having been "
            "chosen; of winners the mean over fresh seeds, which is not, with its 95% interval. Settings are in the table "
            "behind."
        ),
        "search_rounds",
        text_columns=2,
    )


def _tested(row: pd.Series) -> str:
    """Return the cell of a test accuracy, with its interval where there is one."""
    accuracy = percent(row["test_accuracy"])
    if math.isnan(row["test_low"]):
        return accuracy
    return with_interval(accuracy, percent_interval(row["test_low"], row["test_high"]))


def _regions_table(regions: pd.DataFrame) -> Table:
    rows = [
        (
            row["sample"],
            row["name"],
            f"{row['round']}",
            _range(row["searched_low"], row["searched_high"]),
            f"{row['best']:.3g}",
            _place(row["edge"]),
            _range(row["low"], row["high"]),
        )
        for _, row in regions.iterrows()
    ]
    return Table(
        tr("Where searches went"),
        (tr("search"), tr("range"), tr("for round"), tr("searched"), tr("best value"), tr("where"), tr("next")),
        rows,
        tr("At an edge: within a tenth of the range's length, on its scale, from its end."),
        "search_regions",
        text_columns=2,
    )


def _place(edge: str) -> str:
    return tr(_PLACES[edge])


def _range(low: float, high: float) -> str:
    return tr("{low} to {high}", low=f"{low:.3g}", high=f"{high:.3g}")


def _grid_or_random(differences: pd.DataFrame) -> str:
    if differences.empty:
        return tr(
            "Random or grid. Not compared: it takes a grid whose tuning or final runs are many more than a search."
        )
    parts = []
    for of, text in _GAINS.items():
        row = _told(differences[differences["of"] == of])
        if row is not None:
            gain, share = difference_in_words(row), percent(row["share_better"], 0)
            parts.append(_hedged(tr(text, gain=gain, budget=row["budget"], share=share), row))
    return tr(
        "Random or grid. Points of validation accuracy of the best run found, random search minus grid: {list}.",
        list="; ".join(parts),
    )


def _told(rows: pd.DataFrame) -> pd.Series | None:
    """Return the row of the largest budget that is not above TOLD_BUDGET times what one setting costs."""
    if rows.empty:
        return None
    ordered = rows.sort_values("budget")
    return _row(ordered, int((ordered["budget"] <= TOLD_BUDGET * ordered["budget"].iloc[0]).sum()) - 1)


def _row(rows: pd.DataFrame, place: int) -> pd.Series:
    row: pd.Series = rows.iloc[place]
    return row


def _hedged(gain: str, row: pd.Series) -> str:
    """Return what a search gains, with a warning where the interval holds zero."""
    return tr("{gain} (not told apart)", gain=gain) if row["low"] <= 0 <= row["high"] else gain


def _log_or_linear(study: Study, laws: pd.DataFrame) -> str:
    if laws.empty:
        return tr("Log or linear. Not compared: it takes a random sample.")
    laws = laws.sort_values("budget")
    first, last = _row(laws, 0), _row(laws, -1)
    if last["budget"] == 0:
        return tr(
            "Log or linear. Too few draws: weighed as if rates were even on a linear scale, those of a seed are worth "
            "{draws:.1f}.",
            draws=last["effective_draws"],
        )
    decades = sorted(math.log10(each.high / each.low) for each in map(study.rate_range, study.factors["optimizer"]))
    low, high = (f"{decades[place]:.1f}" for place in (0, -1))
    parts = [
        _hedged(
            trn(
                "{gain} with {number} run",
                "{gain} with {number} runs",
                int(row["budget"]),
                gain=difference_in_words(row),
            ),
            row,
        )
        for row in (last, first)
    ]
    return tr(
        "Log or linear. Points of validation accuracy of the best run found, rates even on a log scale minus rates even on a "
        "linear scale over the same ranges ({width} decades): {list}.",
        width=tr("{low} to {high}", low=low, high=high) if decades[-1] - decades[0] > 0.05 else low,
        list=", ".join(parts),
    )


def _edges(edges: pd.DataFrame) -> str:
    found = {row["where"]: row for _, row in edges.iterrows()}
    if len(found) < 2:
        return tr("Edges of ranges. Not looked at: it takes three rates or more, and settings whose best lies inside.")
    edge, inside = found["edge"], found["inside"]
    return tr(
        "Edges of ranges. With the last rate of the range cut off at either end, it would have been better than all others for "
        "{share} ({interval}) of the settings whose best remaining rate lay next to the cut, for {other_share} "
        "({other_interval}) of the others; on average it gains {gain} points there and {other_gain} elsewhere.",
        share=percent(edge["share"]),
        interval=percent_interval(edge["share_low"], edge["share_high"]),
        gain=difference_in_words(edge, "gain"),
        other_share=percent(inside["share"]),
        other_interval=percent_interval(inside["share_low"], inside["share_high"]),
        other_gain=difference_in_words(inside, "gain"),
    )


def best_found(search: pd.DataFrame) -> Figure:
    """Draw the validation accuracy of the best run found against the budget, for searches by grid and at random."""
    lines = [
        (tr("grid"), ("tuning", "grid"), ("final", "grid")),
        (tr("random, of the same runs"), ("tuning", "random"), ("final", "random")),
        (tr("random sample (other seeds)"), ("random", "random"), ("", "")),
    ]
    found = {(str(of), str(how)): rows.sort_values("budget") for (of, how), rows in search.groupby(["of", "search"])}
    panels = [
        (title, [(i, name, found[line[column]]) for i, (name, *line) in enumerate(lines) if line[column] in found])
        for column, title in enumerate((tr("every run at one rate"), tr("every setting with its tuned rate")))
    ]
    panels = [panel for panel in panels if panel[1]]
    canvas, axes = canvas_of(1, len(panels), 2.9, share=False)
    for axis, (title, drawn) in zip(axes[0], panels, strict=True):
        for position, name, rows in drawn:
            line = line_of(position)
            axis.fill_between(
                rows["budget"], rows["decile_1"], rows["decile_9"], color=line["color"], alpha=0.13, linewidth=0
            )
            axis.plot(rows["budget"], rows["median"], marker=MARKERS[position], markersize=4, label=name, **line)
        _budget_axis(axis, pd.concat([rows["budget"] for _, _, rows in drawn]))
        shown = pd.concat([rows for _, _, rows in drawn])
        lowest = shown.loc[shown["budget"] >= 4 * shown["budget"].min(), "decile_1"].min()
        if not math.isnan(lowest):
            axis.set_ylim(lowest - 0.01, min(shown["decile_9"].max() + 0.005, 1.0))
        percent_axis(axis, "y", 0 if axis.get_ylim()[1] - axis.get_ylim()[0] > 0.1 else 1)
        axis.set_title(title)
        axis.set_xlabel(tr("runs trained (log)"))
        axis.legend(frameon=False, loc="lower right", handlelength=3.2)
    axes[0, 0].set_ylabel(tr("validation accuracy of the best run"))
    told = {key: row for key in _ORDER if key in found and (row := _told(found[key])) is not None}
    parts = joined(
        [
            tr(_FOUND[how], budget=row["budget"], runs=_runs(str(of)), accuracy=percent(row["median"]))
            for (of, how), row in told.items()
        ]
    )
    caption = tr(
        "At the median, {list}. Lines: median of all searches of a budget, mean over seeds; bands: the middle 80% of searches. A "
        "grid is a product of some of the levels and rates, all shapes that use the budget alike. The scale does not begin at "
        "zero, but where four runs stand.",
        list=parts,
    )
    alt = tr("What a budget finds: {list}.", list=parts)
    return Figure("best_found", svg_of(canvas), tr("What a budget finds"), caption, alt, "search")


def _runs(of: str) -> str:
    """Return which runs a search chose among."""
    return tr(_RUNS[of])


def _budget_axis(axis: Axes, budgets: pd.Series) -> None:
    axis.set_xscale("log", base=2)
    ticks = sorted(set(budgets))
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())


def _differences_table(differences: pd.DataFrame) -> Table:
    smallest = differences.groupby("of")["budget"].transform("min")
    shown = differences[differences["budget"] >= 4 * smallest]
    rows = [
        (
            _runs(row["of"]),
            f"{row['budget']:,}",
            *difference_cells(row),
            percent(row["share_better"], 0),
            points(row["test_difference"], 2),
        )
        for _, row in shown.iterrows()
    ]
    return Table(
        tr("Random search minus grid, at the same number of runs"),
        (
            tr("runs that are searched"),
            tr("runs trained"),
            tr("validation, points"),
            tr("95% interval"),
            tr("random better"),
            tr("test, points"),
        ),
        rows,
        tr(
            "Expected accuracy of the best run found, in percentage points; test: of the same run. Intervals over seeds; where "
            "the random sample has other seeds than the grid, both groups of seeds are taken to have the same spread, so that "
            "the luck of a split is within the interval. Ties count half as better. Smaller budgets are in the table behind."
        ),
        "search_differences",
    )


def _laws_table(laws: pd.DataFrame) -> Table:
    rows = [
        (f"{int(row['budget'])}", percent(row["log"]), percent(row["linear"]), *difference_cells(row))
        for _, row in laws.iterrows()
    ]
    return Table(
        tr("Rates even on a log scale against rates even on a linear one"),
        (tr("runs trained"), tr("log"), tr("linear"), tr("log minus linear, points"), tr("95% interval")),
        rows,
        tr(
            "Expected validation accuracy of the best of so many draws. The linear scale weighs the same draws in proportion to "
            "their rates, after which the {draws:g} of a seed are worth {effective:.1f}; intervals over draws.",
            draws=laws["draws"].iloc[0] / laws["seeds"].iloc[0],
            effective=laws["effective_draws"].iloc[0],
        ),
        "rate_laws",
        text_columns=0,
    )


def _edges_table(edges: pd.DataFrame) -> Table:
    rows = [
        (
            tr(_CUTS[row["where"]]),
            f"{row['settings']:,}",
            f"{row['improved']:,}",
            percent(row["share"]),
            percent_interval(row["share_low"], row["share_high"]),
            *difference_cells(row, "gain"),
        )
        for _, row in edges.iterrows()
    ]
    return Table(
        tr("Whether a best rate at the edge is a warning"),
        (
            tr("best remaining rate"),
            tr("settings"),
            tr("cut rate better"),
            tr("share"),
            tr("95% interval"),
            tr("gain, points"),
            tr("95% interval"),
        ),
        rows,
        tr(
            "Each setting of the grid twice: without the lowest rate, and without the highest. Gain: of validation accuracy by "
            "the rate that was cut off, 0 where it is no better; the best of few noisy runs, so even a flat curve gains a "
            "little."
        ),
        "range_edges",
    )
