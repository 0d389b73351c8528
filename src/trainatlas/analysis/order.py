"""The order of trials: tables of millions of rows are joined to their trials by places in it, not by text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd


class TrialOrder:
    """Trial ids in order, and where each stands.

    Parameters
    ----------
    ids
        Trial ids, each once.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = np.sort(np.array(list(ids), dtype="U"))

    def __len__(self) -> int:
        return len(self._ids)

    def ids(self, positions: np.ndarray | None = None) -> pd.Series:
        """Return the ids that stand at `positions`; all of them, in order, where none are given."""
        return pd.Series(self._ids if positions is None else self._ids[positions], dtype="str")

    def positions(self, ids: pd.Series) -> np.ndarray:
        """Return where each of `ids` stands, -1 for one that is not among them."""
        codes, texts = pd.factorize(ids)
        if not len(self) or not len(texts):
            return np.full(len(ids), -1)
        wanted = np.asarray(texts, dtype="U")
        found = np.minimum(np.searchsorted(self._ids, wanted), len(self) - 1)
        return np.where(self._ids[found] == wanted, found, -1)[codes]


def with_runs(rows: pd.DataFrame, runs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return those of `rows` that belong to `runs`, both with `trial_id`, and beside them `columns` of their run.

    Texts come as categories.
    """
    order = TrialOrder(runs["trial_id"])
    positions = order.positions(rows["trial_id"])
    known = positions >= 0
    places = np.argsort(order.positions(runs["trial_id"]))[positions[known]]
    texts = {name: "category" for name in columns if runs[name].dtype in ("str", "object")}
    beside = runs[list(columns)].astype(texts)
    return rows[known].assign(**{name: beside[name].array[places] for name in columns})
