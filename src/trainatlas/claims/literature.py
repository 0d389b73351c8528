"""Published figures beside ours: direction and order are compared, sizes only shown."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from trainatlas.claims.columns import LITERATURE_COLUMNS
from trainatlas.claims.config import Published
from trainatlas.study.texts import worded
from trainatlas.train.records import names

AGREEMENTS = ("agrees", "contradicts", "underpowered", "not comparable")


def agreement(published: Published, low: float, high: float, margin: float) -> str:
    """Return whether our interval lies on the side of nothing that the published effect lies on.

    Parameters
    ----------
    low, high
        Ends of our interval; on the log scale for a ratio.
    margin
        For a published figure that says "about equal": how far from nothing is still equal, on the same scale.

    Returns
    -------
    str
        "underpowered" where the interval has both sides, or for "equal" where it is wider than the margin.
    """
    if published.direction == "equal":
        if -margin <= low and high <= margin:
            return "agrees"
        return "contradicts" if low > margin or high < -margin else "underpowered"
    sign = 1 if published.direction == "greater" else -1
    nearest, farthest = sorted((sign * low, sign * high))
    if nearest > 0:
        return "agrees"
    return "contradicts" if farthest < 0 else "underpowered"


def compared(literature: Sequence[Published], verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return LITERATURE_COLUMNS: each published figure beside every row of ours that measures the same.

    Parameters
    ----------
    verdicts
        As `trainatlas.claims.judge` makes them.
    """
    rows: list[tuple[object, ...]] = []
    for each in literature:
        head = (each.claim, each.part, each.figure, each.source, int(each.single_run))
        ours = verdicts[(verdicts["claim"] == each.claim) & (verdicts["part"] == each.part)]
        ran = ours[ours["verdict"] != "not run"]
        for row in ran.to_dict("records"):
            ends = [abs(end) for end in (row["expected_low"], row["expected_high"]) if math.isfinite(end)]
            said = agreement(each, row["low"], row["high"], max(ends))
            numbers = (row["effect"], row["low"], row["high"])
            rows.append((*head, row["study"], row["case"], row["scale"], row["unit"], *numbers, said, each.differs))
        if ran.empty:
            unlike = each.differs or worded("ours measures nothing like it")
            why = worded("ours was not run") if len(ours) else unlike
            rows.append((*head, "", "", "", "", *(math.nan,) * 3, "not comparable", why))
    return pd.DataFrame(rows, columns=names(LITERATURE_COLUMNS))
