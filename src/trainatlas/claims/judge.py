"""Verdicts on all claims: every part is held against every study that feeds it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from trainatlas.analysis.tables import read_table
from trainatlas.catalogue import TABLES
from trainatlas.claims import metrics
from trainatlas.claims.columns import CHECK_COLUMNS, CLAIM_TABLES, MEASURED_COLUMNS
from trainatlas.claims.config import Claim, ClaimSet, Part
from trainatlas.claims.evidence import Evidence, canonical, checked, evidence
from trainatlas.claims.feed import Feed, MissingEvidenceError
from trainatlas.claims.literature import compared
from trainatlas.claims.mathematics import EXACT
from trainatlas.claims.readings import READINGS, OptionError
from trainatlas.claims.search_readings import SEARCH_READINGS
from trainatlas.claims.verdicts import (
    Estimate,
    Expectation,
    Verdict,
    by_seed,
    corrected,
    estimate,
    overall,
    scatter_of,
    verdict,
)
from trainatlas.study.config import load_study
from trainatlas.study.errors import UserError
from trainatlas.study.texts import worded
from trainatlas.train.records import names

ALL_READINGS = READINGS | SEARCH_READINGS


@dataclass(frozen=True)
class Row:
    """A part of a claim as one study, or one case of an experiment, answers it.

    Attributes
    ----------
    part
        Its number among the claim's parts, counted from 1.
    study
        Name of the study; empty for an experiment.
    case
        Data set and architecture.
    evidence
        What the answer rests on; None where there is none.
    reason
        Why there is none.
    diverged
        How many of the trials behind it diverged.
    """

    claim: Claim
    part: int
    study: str
    case: str
    evidence: Evidence | None
    reason: str = ""
    diverged: int = 0

    @property
    def asked(self) -> Part:
        """The part."""
        return self.claim.parts[self.part - 1]

    @property
    def expected(self) -> Expectation:
        """What the claim expects."""
        return Expectation(*self.asked.bounds, inside=self.asked.direction != "differs")


def refuse_unknown(claim_set: ClaimSet, experiments: Mapping[str, object]) -> None:
    """Raise UserError, naming file and claim, where a part names a level, metric, reading or experiment that does not exist.

    Parameters
    ----------
    experiments
        Those that exist, by name.
    """
    for claim in claim_set.claims.claims:
        where = f"{claim_set.path}: claims: {claim.id}"
        if claim.exact and claim.id not in EXACT:
            raise UserError(f"{where}: exact is true; allowed: only for {', '.join(EXACT)}")
        for part in claim.parts:
            try:
                canonical(part)
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
            metric = part.metric or part.options.get("metric")
            if metric is not None and (allowed := metrics.named(str(metric))):
                raise UserError(f"{where}: metric is '{metric}'; allowed: {allowed}")
            for key, known in (("reading", ALL_READINGS), ("experiment", experiments)):
                name = getattr(part, key)
                if name is not None and name not in known:
                    raise UserError(f"{where}: {key} is '{name}'; allowed: {', '.join(known)}")


def judge(claim_set: ClaimSet, results: Path, measured: Path) -> dict[str, pd.DataFrame]:
    """Return every table of CLAIM_TABLES.

    Parameters
    ----------
    results
        Folder under which each study's results lie. A study without any feeds nothing.
    measured
        Folder of the tables of experiments.

    Raises
    ------
    UserError
        One line naming file and column where a table is not as it should be, or the claim where an option is missing.
    """
    feeds = {
        name: Feed(load_study(file.path, TABLES, file.profile), results / file.name)
        for name, file in claim_set.studies.items()
        if (results / file.name / "trials.csv").exists()
    }
    checks = _checks(claim_set)
    rows = list(_rows(claim_set, feeds, measured))
    estimates = [_estimated(row) for row in rows]
    p_values = [math.nan if each is None else each.p for each in estimates]
    adjusted = corrected(p_values, [row.claim.chapter for row in rows])
    verdicts = pd.DataFrame(
        [_as_record(*each) for each in zip(rows, estimates, adjusted, strict=True)],
        columns=names(CLAIM_TABLES["verdicts"]),
    )
    return {
        "checks": checks,
        "verdicts": verdicts,
        "summary": _summary(claim_set, checks, verdicts),
        "evidence": _observed(rows),
        "trials": _behind(rows),
        "literature": compared(claim_set.claims.literature, verdicts),
    }


def _checks(claim_set: ClaimSet) -> pd.DataFrame:
    rows = [
        (claim.id, check.what, check.expected, check.found, check.tolerance, int(check.holds))
        for claim in claim_set.claims.claims
        if claim.exact
        for check in EXACT[claim.id]()
    ]
    return pd.DataFrame(rows, columns=names(CHECK_COLUMNS))


def _rows(claim_set: ClaimSet, feeds: Mapping[str, Feed], measured: Path) -> Iterator[Row]:
    for claim in claim_set.claims.claims:
        for number, part in enumerate(claim.parts, start=1):
            if part.experiment is not None:
                yield from _of_experiment(claim, number, measured / f"{part.experiment}.csv")
            for name in part.studies:
                yield _of_study(claim, number, claim_set, name, feeds)


def _of_experiment(claim: Claim, number: int, path: Path) -> Iterator[Row]:
    if not path.exists():
        yield Row(claim, number, "", "", None, worded("{experiment} was not measured", experiment=path.stem))
        return
    table = read_table(path, MEASURED_COLUMNS, "trainatlas claims measure")
    for case, own in table.groupby("case", sort=False):
        try:
            yield Row(claim, number, "", str(case), checked(Evidence(own[["seed", "pair", "effect"]])))
        except MissingEvidenceError as error:
            yield Row(claim, number, "", str(case), None, str(error))


def _of_study(claim: Claim, number: int, claim_set: ClaimSet, name: str, feeds: Mapping[str, Feed]) -> Row:
    if name not in feeds:
        return Row(claim, number, claim_set.studies[name].name, "", None, worded("the study has no results"))
    feed, part = feeds[name], canonical(claim.parts[number - 1])
    try:
        found = evidence(part, feed) if part.reading is None else ALL_READINGS[part.reading](part, feed, feeds)
    except MissingEvidenceError as error:
        return Row(claim, number, feed.study.name, feed.case, None, str(error))
    except OptionError as error:
        raise UserError(f"{claim_set.path}: claims: {claim.id}: {error}") from None
    behind = feed.trials["trial_id"].isin(found.trials) & (feed.trials["status"] == "diverged")
    return Row(claim, number, feed.study.name, feed.case, found, diverged=int(behind.sum()))


def _estimated(row: Row) -> Estimate | None:
    if row.evidence is None:
        return None
    observations = row.evidence.observations
    return estimate(by_seed(observations), row.expected, scatter_of(observations) if row.diverged else None)


def _as_record(row: Row, found: Estimate | None, adjusted: float) -> tuple[object, ...]:
    part, expected = row.asked, row.expected
    head = (row.claim.id, row.part, part.what, row.study, row.case, part.direction, part.scale, part.unit)
    ends = (expected.low, expected.high)
    if found is None or row.evidence is None:
        missing = (math.nan,) * 5
        return (*head, *ends, *missing, "not run", row.reason, 1, 0, 0, 0, 0)
    said: Verdict = verdict(found, expected, adjusted)
    observations = row.evidence.observations
    counts = (observations["seed"].nunique(), len(observations), len(row.evidence.trials), row.diverged)
    return (*head, *ends, *found.interval, found.p, adjusted, said, "", int(found.stable), *counts)


def _summary(claim_set: ClaimSet, checks: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return one row a claim: what its checks and rows say together, and whether one data set alone turns it."""
    rows = []
    for claim in claim_set.claims.claims:
        proofs = checks.loc[checks["claim"] == claim.id, "holds"]
        proved: list[Verdict] = ["supported" if proofs.all() else "refuted"] if len(proofs) else []
        own = verdicts[verdicts["claim"] == claim.id]
        said = [*proved, *own["verdict"]]
        whole = overall(said)
        cases = [case for case in own["case"].unique() if case]
        without = [overall([*proved, *own.loc[own["case"] != case, "verdict"]]) for case in cases]
        turned = [case for case, other in zip(cases, without, strict=True) if len(cases) > 1 and other != whole]
        counts = [sum(each == kind for each in said) for kind in ("supported", "refuted", "inconclusive", "not run")]
        kind = "mathematics" if not claim.parts else "both" if claim.exact else "experiment"
        rows.append(
            (
                claim.id,
                claim.chapter,
                claim.statement,
                claim.source,
                kind,
                whole,
                *counts,
                len(proofs),
                "; ".join(turned),
            )
        )
    return pd.DataFrame(rows, columns=names(CLAIM_TABLES["summary"]))


def _observed(rows: list[Row]) -> pd.DataFrame:
    tables = [
        row.evidence.observations.assign(claim=row.claim.id, part=row.part, study=row.study, case=row.case)
        for row in rows
        if row.evidence is not None
    ]
    columns = list(names(CLAIM_TABLES["evidence"]))
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def _behind(rows: list[Row]) -> pd.DataFrame:
    found = [
        (row.claim.id, row.part, row.study, trial)
        for row in rows
        if row.evidence is not None
        for trial in dict.fromkeys(row.evidence.trials)
    ]
    return pd.DataFrame(found, columns=names(CLAIM_TABLES["trials"]))
