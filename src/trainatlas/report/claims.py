"""The report on claims: a verdict on each, the numbers it follows from, and what it leaves open.

Every sentence about an effect is made from a row of verdicts.csv, and none is made without an interval. What the claims file
says is shown in the report's language where the catalogue has it, which it does for ours, and else as given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from trainatlas.claims.config import Claim, ClaimSet
from trainatlas.claims.verdicts import MIXED, VERDICTS
from trainatlas.report.blocks import Content, Figure, Section, Table
from trainatlas.report.claims_figures import forest
from trainatlas.report.language import mark, retold, tr
from trainatlas.report.wording import joined, p_value

Row = Mapping[Any, Any]
"""A row of verdicts.csv, by column."""

SIGNS = {
    "supported": mark("✓\u00a0supported"),
    "refuted": mark("✗\u00a0refuted"),
    "inconclusive": mark("?\u00a0inconclusive"),
    "not run": mark("–\u00a0not\u00a0run"),
    MIXED: mark("±\u00a0mixed"),
}
"""Verdicts with a sign of their own: they are told apart without colour."""

LISTED_AGAINST = 3
"""Claims that the answer names among those that do not hold, wholly refuted ones first."""

_NOTE = mark(
    "Intervals are 95 % over seeds; p is corrected for all rows of the chapter (Holm). Supported: the interval lies wholly where "
    "the claim expects the effect; refuted: wholly elsewhere; inconclusive: neither."
)


def claims_content(claim_set: ClaimSet, tables: dict[str, pd.DataFrame], digest: str) -> Content:
    """Put the report on claims together.

    Parameters
    ----------
    tables
        CLAIM_TABLES, as `trainatlas claims judge` wrote them.
    digest
        Of the claims file.
    """
    claims = claim_set.claims
    summary, verdicts = tables["summary"], tables["verdicts"]
    counts = summary["verdict"].value_counts()
    sections = [_overview(claim_set, summary)]
    sections += [_page(claim, tables) for claim in claims.claims]
    if len(tables["literature"]):
        sections.append(_literature(tables["literature"]))
    sections.append(_methods(claim_set))
    ran = verdicts[verdicts["verdict"] != "not run"]
    return Content(
        title=tr(claims.title),
        question=tr(
            "What of {claims} statements that everybody repeats holds when it is measured?", claims=len(claims.claims)
        ),
        findings=_findings(summary, verdicts),
        counts=[
            *((tr(verdict), f"{counts.get(verdict, 0)}") for verdict in (*VERDICTS[:2], MIXED, *VERDICTS[2:])),
            (tr("rows"), f"{len(ran):,}"),
            (tr("trials behind them"), f"{tables['trials']['trial_id'].nunique():,}"),
            (tr("exact checks"), f"{len(tables['checks']):,}"),
        ],
        sections=sections,
        digest=digest,
    )


def _findings(summary: pd.DataFrame, verdicts: pd.DataFrame) -> list[str]:
    """Return a few sentences: how many claims hold, a row of those that most clearly do not, and what one data set turns."""
    counts = summary["verdict"].value_counts()
    supported, refuted, mixed = (int(counts.get(verdict, 0)) for verdict in ("supported", "refuted", MIXED))
    found = [
        tr(
            "Of {claims} claims {supported} are supported wherever something could be said, {refuted} refuted, {mixed} depend "
            "on the data, the network or the part of the claim; {open} are left open.",
            claims=len(summary),
            supported=supported,
            refuted=refuted,
            mixed=mixed,
            open=len(summary) - supported - refuted - mixed,
        )
    ]
    claims = summary.set_index("claim")
    against = verdicts[verdicts["verdict"] == "refuted"]
    against = against.assign(
        statement=against["claim"].map(claims["statement"]).map(tr).str.rstrip("."),
        not_wholly=against["claim"].map(claims["verdict"]) != "refuted",
        the_same_at_every_seed=against["high"] == against["low"],
    )
    against = against.sort_values(["not_wholly", "the_same_at_every_seed", "p_holm"]).drop_duplicates("claim")
    found += [
        tr(
            "{claim}, \u201c{statement}\u201d, is refuted in one row: {sentence}",
            claim=row["claim"],
            statement=row["statement"],
            sentence=sentence(row),
        )
        for row in against.head(LISTED_AGAINST).to_dict("records")
    ]
    turned = summary[summary["turned_by"] != ""]
    if len(turned):
        found.append(
            tr("One data set or network alone turns the verdict on {claims}.", claims=joined(list(turned["claim"])))
        )
    return found


def sentence(row: Row) -> str:
    """Return what a row of verdicts.csv says, in words.

    Raises
    ------
    ValueError
        For a verdict without an interval: none is ever printed.
    """
    what, verdict = tr(row["what"]), row["verdict"]
    if verdict == "not run":
        return tr("{what}: not run ({reason}).", what=what, reason=retold(row["reason"]))
    return tr(
        "{what}, {case}: {effect}; {seeds} seeds, {pairs} pairs, p {p}; expected {expected}: {verdict}.",
        what=what,
        case=retold(row["case"]),
        effect=measured(row),
        seeds=row["seeds"],
        pairs=row["pairs"],
        p=p_value(row["p_holm"]),
        expected=expectation(row),
        verdict=tr(verdict),
    )


def expectation(row: Row) -> str:
    """Return where a row of verdicts.csv expects the effect, in words."""
    low, high = row["expected_low"], row["expected_high"]
    if math.isinf(high):
        return tr("above {end}", end=_written(row, low))
    if math.isinf(low):
        return tr("below {end}", end=_written(row, high))
    ends = {"low": _number(row, low), "high": _written(row, high)}
    return (
        tr("outside {low} to {high}", **ends) if row["direction"] == "differs" else tr("within {low} to {high}", **ends)
    )


def measured(row: Row) -> str:
    """Return a row's effect with its interval, which is called one.

    Raises
    ------
    ValueError
        Where there is no interval: no verdict is ever printed without one.
    """
    numbers = _with_interval(row)
    if row["scale"] == "ratio":
        return tr("{effect} (95 % interval {low} to {high}) times", **numbers)
    if row["unit"] == "points":
        return tr("{effect} (95 % interval {low} to {high}) points", **numbers)
    return tr("{effect} (95 % interval {low} to {high})", **numbers)


def _in_cell(row: Row) -> str:
    """Return the same for a column whose head says what stands in brackets."""
    numbers = _with_interval(row)
    if row["scale"] == "ratio":
        return tr("{effect} ({low} to {high}) times", **numbers)
    if row["unit"] == "points":
        return tr("{effect} ({low} to {high}) points", **numbers)
    return tr("{effect} ({low} to {high})", **numbers)


def _with_interval(row: Row) -> dict[str, str]:
    ends = {name: row[name] for name in ("effect", "low", "high")}
    if not all(map(math.isfinite, ends.values())):
        raise ValueError(f"{row['claim']}: a verdict '{row['verdict']}' without an interval")
    return {name: _number(row, end) for name, end in ends.items()}


def _number(row: Row, value: float) -> str:
    if row["scale"] == "ratio":
        return f"{math.exp(value):.3g}"
    return f"{value * 100:+.2f}".replace("-", "−") if row["unit"] == "points" else f"{value:+.3g}".replace("-", "−")


def _written(row: Row, value: float) -> str:
    """Return a number with its unit."""
    if row["scale"] == "ratio":
        return tr("{number} times", number=_number(row, value))
    if row["unit"] == "points":
        return tr("{number} points", number=_number(row, value))
    return _number(row, value)


def _overview(claim_set: ClaimSet, summary: pd.DataFrame) -> Section:
    claims = claim_set.claims
    blocks: list[Figure | Table] = []
    for letter, title in claims.chapters.items():
        own = summary[summary["chapter"] == letter]
        rows = [
            (
                row["claim"],
                tr(row["statement"]),
                tr(SIGNS[row["verdict"]]),
                f"{row['supported']} / {row['refuted']} / {row['inconclusive']} / {row['not_run']}",
            )
            for _, row in own.iterrows()
        ]
        if rows:
            header = (tr("claim"), tr("statement"), tr("verdict"), tr("for / against / open / not run"))
            blocks.append(Table(tr(title), header, rows, data="summary", text_columns=4))
    return Section(
        "verdicts",
        tr("Verdicts"),
        [tr("A claim is answered for each data set and architecture by itself; nothing is pooled.") + " " + tr(_NOTE)],
        blocks,
    )


def _page(claim: Claim, tables: dict[str, pd.DataFrame]) -> Section:
    own = tables["verdicts"][tables["verdicts"]["claim"] == claim.id]
    told = tables["summary"].set_index("claim").loc[claim.id]
    checks = tables["checks"][tables["checks"]["claim"] == claim.id]
    counts = [tr(words, number=told[key]) for key, words in _COUNTED.items() if told[key]]
    paragraphs = [
        tr(
            "Verdict: {verdict} ({rows}). Source: {source}.",
            verdict=tr(SIGNS[str(told["verdict"])]),
            rows=joined(counts),
            source=tr(claim.source),
        )
    ]
    if not own["stable"].all():
        rows = "; ".join(_of_row(row) for row in own.to_dict("records") if not row["stable"])
        paragraphs.append(
            tr(
                "Unstable: without one of the seeds the mean lies on the other side of what is expected ({rows}).",
                rows=rows,
            )
        )
    if told["turned_by"]:
        cases = "; ".join(map(retold, str(told["turned_by"]).split("; ")))
        paragraphs.append(tr("Unstable: the verdict would be another without {cases}.", cases=cases))
    if claim.limits:
        paragraphs.append(tr("Limits: {limits}", limits=tr(claim.limits)))
    blocks: list[Figure | Table] = []
    measured = own[own["verdict"] != "not run"]
    if len(measured):
        blocks.append(forest(claim, measured, tables["evidence"]))
    if len(own):
        blocks.append(_rows(own))
    if len(checks):
        blocks.append(_checks(checks))
    return Section(claim.id, f"{claim.id}. {tr(claim.statement)}", paragraphs, blocks, listed=False)


_COUNTED = {
    "supported": mark("{number} for"),
    "refuted": mark("{number} against"),
    "inconclusive": mark("{number} open"),
    "not_run": mark("{number} not run"),
}


def _of_row(row: Row) -> str:
    return f"{tr(row['what'])}, {retold(row['case'])}"


def _rows(own: pd.DataFrame) -> Table:
    rows = []
    for row in own.to_dict("records"):
        ran = row["verdict"] != "not run"
        effect = _in_cell(row) if ran else "–"
        counts = f"{row['seeds']} · {row['pairs']:,} · {row['trials']:,}" if ran else "–"
        verdict = tr(SIGNS[row["verdict"]]) + ("" if ran else f": {retold(row['reason'])}")
        where = retold(row["case"]) or row["study"]
        rows.append(
            (tr(row["what"]), where, effect, expectation(row), p_value(row["p_holm"]) if ran else "–", counts, verdict)
        )
    header = (
        tr("effect of"),
        tr("data and network"),
        tr("effect (95 % interval)"),
        tr("expected"),
        "p",
        tr("seeds · pairs · trials"),
        tr("verdict"),
    )
    return Table(tr("The numbers"), header, rows, tr(_NOTE), "verdicts", 7)


LISTED_CHECKS = 15
"""Exact checks that a claim's page shows, those nearest to their tolerance first."""


def _checks(checks: pd.DataFrame) -> Table:
    order = (checks["found"] - checks["expected"]).abs().sub(checks["tolerance"]).sort_values(ascending=False)
    rows = [
        (
            retold(row["what"]),
            f"{row['expected']:.10g}",
            f"{row['found']:.10g}",
            f"{row['tolerance']:.1g}",
            tr("holds") if row["holds"] else tr("does not hold"),
        )
        for row in checks.loc[order.index].head(LISTED_CHECKS).to_dict("records")
    ]
    broken = int((checks["holds"] == 0).sum())
    if broken:
        note = tr(
            "{checks} checks, {broken} do not hold; shown are those nearest to their tolerance.",
            checks=len(checks),
            broken=broken,
        )
    else:
        note = tr("{checks} checks, all hold; shown are those nearest to their tolerance.", checks=len(checks))
    return Table(
        tr("Checked exactly, in double precision"),
        (tr("what"), tr("by theory"), tr("by the code"), tr("tolerance"), tr("result")),
        rows,
        note,
        "checks",
    )


def _literature(literature: pd.DataFrame) -> Section:
    rows = []
    for row in literature.to_dict("records"):
        ran = row["agreement"] != "not comparable"
        ours = f"{retold(row['case'])}: {measured(row | {'verdict': row['agreement']})}" if ran else "–"
        figure, source, agrees, differs = (tr(row[name]) for name in ("figure", "source", "agreement", "reason"))
        if row["single_run"]:
            figure = tr("{figure} (single runs)", figure=figure)
        rows.append((row["claim"] or "–", figure, source, ours, agrees, differs))
    counts = literature["agreement"].value_counts()
    said = joined(
        [tr("{number} {agreement}", number=number, agreement=tr(str(word))) for word, number in counts.items()]
    )
    header = (tr("claim"), tr("published"), tr("by"), tr("ours"), tr("agreement"), tr("what differs"))
    return Section(
        "literature",
        tr("Agreement with the literature"),
        [
            tr(
                "Published figures beside ours: {counts}. Direction and order are compared, not sizes: ours are small networks "
                "on small data. Underpowered: our interval has both sides.",
                counts=said,
            )
        ],
        [Table(tr("Published figures and ours"), header, rows, data="literature", text_columns=6)],
    )


def _methods(claim_set: ClaimSet) -> Section:
    studies = [(name, file.name, str(file.path.name)) for name, file in claim_set.studies.items()]
    return Section(
        "methods",
        tr("How a verdict comes about"),
        [
            tr(
                "Every arm has its own learning rate, chosen on validation data of other seeds; test data are looked at once. A "
                "pair is two runs that agree in the seed - split, order of the data, initial draws - and in every factor but the "
                "one compared. The mean over a seed's pairs is one value, for seeds are what is independent; the interval is "
                "Student's t over these values."
            ),
            tr(
                "Where the claim expects the effect was written down before any run, in the claims file. The p-value answers "
                "whether the effect lies there or not (one-sided; two one-sided tests where there are two ends), and is "
                "corrected over all rows of a chapter by Holm's method. Runs that diverge count with what they ended at; a "
                "target that was never reached counts with the whole budget."
            ),
            tr(
                "Where runs diverged, seeds may agree by chance, and the scatter of single pairs must bear the answer out too. "
                "Simulated chapters of twelve rows then hold a false verdict in no more than 5 % of cases, with a tenth of the "
                "runs diverged too; in more where one arm alone diverges now and then and pairs are few (docs/decisions/0024)."
            ),
            tr(
                "The studies stand at profile {profile}. Small data and networks answer for themselves: what holds here need not "
                "hold at another scale.",
                profile=claim_set.profile,
            ),
        ],
        [Table(tr("The studies"), (tr("name here"), tr("results"), tr("file")), studies, text_columns=3)],
    )
