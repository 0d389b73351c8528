"""The claims file: what is claimed, which studies feed it, by what contrast, and what would settle it, stated before any run.

`load_claims` is the only reader of such files. What a part names of its studies - levels, targets - is known only beside
them, so `trainatlas.claims.evidence` checks that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator, model_validator

from trainatlas.study.config import FULL, study_name
from trainatlas.study.errors import UserError
from trainatlas.study.languages import ENGLISH, Language
from trainatlas.study.ranges import Number, Seeds, StrictModel
from trainatlas.study.reading import problem_in_words, read_mapping
from trainatlas.study.trial import FACTORS

Text = Annotated[str, Field(min_length=1)]
Direction = Literal["greater", "less", "equal", "differs", "between"]
Scale = Literal["difference", "ratio"]
Levels = Annotated[
    tuple[str, ...],
    Field(min_length=1),
    BeforeValidator(
        lambda given: (given,) if isinstance(given, str) else given, json_schema_input_type=str | list[str]
    ),
]
"""One level, or a list of them."""


class FeedingStudy(StrictModel):
    """A study that feeds claims.

    Attributes
    ----------
    file
        The study's file, beside the claims file.
    profiles
        Which of the study's profiles stands for which profile of the claims; its full edition where none is named.
    """

    file: Text
    profiles: dict[str, str] = Field(default_factory=dict)


class Contrast(StrictModel):
    """A level of a factor against others, everything else equal: data, seed and all other factors."""

    factor: str
    level: Text
    against: Levels

    @field_validator("factor")
    @classmethod
    def _known(cls, given: str) -> str:
        if given not in FACTORS:
            raise ValueError(f"is '{given}'; allowed: {', '.join(FACTORS)}")
        return given


class Part(StrictModel):
    """A part of a claim that gets a verdict of its own from every study that feeds it.

    Attributes
    ----------
    what
        What the effect is, in words.
    studies
        Names of studies; none for an experiment.
    contrast
        What is compared; None for the metric itself.
    metric
        A metric of `trainatlas.claims.metrics`.
    reading, options
        A measurement of `trainatlas.claims.readings` in place of contrast and metric, and what it is told.
    experiment
        A measurement of `trainatlas.claims.experiments`, which needs no study.
    where
        The factors' levels that count; all where a factor is not named.
    direction, margin, scale
        What the claim expects of the effect. With `greater` it is above `margin`, with `less` below it, with `equal` no
        further than `margin` from nothing, with `differs` further, with `between` within the two ends of `margin`. The
        effect is a difference, or a ratio, for which `margin` is one too and nothing is 1.
    unit
        Unit of the effect, for a difference: "points" shows shares as percentage points.
    """

    what: Text
    studies: tuple[str, ...] = ()
    contrast: Contrast | None = None
    metric: str | None = None
    reading: str | None = None
    experiment: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    where: dict[str, Levels] = Field(default_factory=dict)
    direction: Direction
    margin: Number | tuple[Number, Number]
    scale: Scale = "difference"
    unit: str = ""

    @field_validator("where")
    @classmethod
    def _known(cls, given: dict[str, Levels]) -> dict[str, Levels]:
        for factor in given:
            if factor not in FACTORS:
                raise ValueError(f"unknown factor '{factor}'; allowed: {', '.join(FACTORS)}")
        return given

    @field_validator("margin", mode="before")
    @classmethod
    def _numbers(cls, given: Any) -> Any:
        ends = given if isinstance(given, list) else [given]
        numbers = [end for end in ends if isinstance(end, int | float) and not isinstance(end, bool)]
        if len(numbers) < len(ends) or not all(map(math.isfinite, numbers)) or len(ends) != 1 + isinstance(given, list):
            raise ValueError(f"is {given!r}; allowed: a number, or two for between")
        return given

    @model_validator(mode="after")
    def _one_source(self) -> Part:
        sources = [name for name in ("metric", "reading", "experiment") if getattr(self, name) is not None]
        if len(sources) != 1:
            found = " and ".join(sources) or "nothing to measure"
            raise ValueError(f"names {found}; allowed: one of metric, reading, experiment")
        if bool(self.studies) == (self.experiment is not None):
            needs = "no studies beside an experiment" if self.studies else "a list of studies"
            raise ValueError(f"studies: {list(self.studies)}; allowed: {needs}")
        return self

    @model_validator(mode="after")
    def _margins(self) -> Part:
        two = isinstance(self.margin, tuple)
        if two != (self.direction == "between"):
            raise ValueError(
                f"margin is {self.margin}; allowed: {'two numbers' if not two else 'one number'} for {self.direction}"
            )
        ends = self.margin if isinstance(self.margin, tuple) else (self.margin,)
        if self.scale == "ratio" and min(ends) <= 0:
            raise ValueError(f"margin is {min(ends):g}; allowed: above 0 for a ratio")
        if len(ends) == 2 and ends[0] >= ends[1]:
            raise ValueError(f"margin is {ends[0]:g} to {ends[1]:g}; allowed: the smaller first")
        nothing = 1.0 if self.scale == "ratio" else 0.0
        if self.direction in ("equal", "differs") and ends[0] <= nothing:
            raise ValueError(f"margin is {ends[0]:g}; allowed: above {nothing:g} for {self.direction}")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """The ends between which the claim expects the effect - outside of which, with `differs` -, for a ratio as logarithms."""
        ends = self.margin if isinstance(self.margin, tuple) else (self.margin,)
        values = [math.log(end) if self.scale == "ratio" else end for end in ends]
        if self.direction == "greater":
            return values[0], math.inf
        if self.direction == "less":
            return -math.inf, values[0]
        return (values[0], values[1]) if len(values) == 2 else (-values[0], values[0])


class Claim(StrictModel):
    """A statement of the lecture notes.

    Attributes
    ----------
    id
        A letter for its chapter and a number.
    statement, source
        What is claimed, in words, and where.
    exact
        Whether `trainatlas.claims.mathematics` proves or refutes it, or a part of it.
    parts
        What is measured.
    limits
        What the measurements leave open, in words.
    """

    id: Annotated[str, Field(pattern=r"^[A-Z][1-9][0-9]*$")]
    statement: Text
    source: Text
    exact: bool = False
    parts: tuple[Part, ...] = ()
    limits: str = ""

    @model_validator(mode="after")
    def _something(self) -> Claim:
        if not self.exact and not self.parts:
            raise ValueError(f"{self.id}: nothing settles it; allowed: exact: true, or at least one part")
        return self

    @property
    def chapter(self) -> str:
        """The letter of its chapter."""
        return self.id[0]

    @property
    def experiments(self) -> list[str]:
        """The experiments that it rests on."""
        return [part.experiment for part in self.parts if part.experiment is not None]


class Published(StrictModel):
    """A published figure, beside which ours is printed.

    Attributes
    ----------
    figure, source
        What was found, in words, and by whom.
    claim, part
        The claim that it belongs to and the number of the part that measures the same; none: ours has nothing like it.
    direction
        Where the published effect lies, as the part measures it: above or below nothing, or near it.
    differs
        In what the published set-up differs from ours, in words.
    single_run
        Whether it rests on a single run.
    """

    figure: Text
    source: Text
    claim: str = ""
    part: int = 0
    direction: Literal["greater", "less", "equal"] | None = None
    differs: str = ""
    single_run: bool = False

    @model_validator(mode="after")
    def _comparable(self) -> Published:
        if bool(self.part) != (self.direction is not None):
            raise ValueError(
                "names a part or a direction alone; allowed: both, or neither for a figure that nothing compares with"
            )
        return self


class Claims(StrictModel):
    """A validated claims file.

    Attributes
    ----------
    title
        What the claims are about, in words.
    profiles
        Names of the editions in which the studies can be run beside `full`.
    seeds
        Of experiments.
    chapters
        The titles of the chapters by letter. Verdicts are corrected for how many there are in a chapter.
    studies
        The studies that feed the claims, by the name that parts know them by.
    literature
        Published figures.
    language
        What the report is written in.
    """

    title: Text
    profiles: tuple[str, ...] = ()
    seeds: Annotated[Seeds, Field(min_length=3)]
    chapters: dict[str, str]
    studies: dict[str, FeedingStudy]
    claims: Annotated[tuple[Claim, ...], Field(min_length=1)]
    literature: tuple[Published, ...] = ()
    language: Language = ENGLISH

    @model_validator(mode="after")
    def _consistent(self) -> Claims:
        for name, feeding in self.studies.items():
            for profile in feeding.profiles:
                if profile not in (*self.profiles, FULL):
                    raise ValueError(
                        f"studies: {name}: unknown profile '{profile}'; allowed: {', '.join([*self.profiles, FULL])}"
                    )
        seen: set[str] = set()
        for claim in self.claims:
            if claim.id in seen:
                raise ValueError(f"claims: {claim.id} is given twice; allowed: each id once")
            seen.add(claim.id)
            if claim.chapter not in self.chapters:
                raise ValueError(
                    f"claims: {claim.id}: unknown chapter '{claim.chapter}'; allowed: {', '.join(self.chapters)}"
                )
            for part in claim.parts:
                for study in part.studies:
                    if study not in self.studies:
                        raise ValueError(
                            f"claims: {claim.id}: unknown study '{study}'; allowed: {', '.join(self.studies)}"
                        )
        parts = {claim.id: len(claim.parts) for claim in self.claims}
        for published in self.literature:
            if published.claim and published.part > parts.get(published.claim, -1):
                raise ValueError(
                    f"literature: there is no part {published.part} of '{published.claim}'; allowed: parts of claims"
                )
        return self

    @cached_property
    def experiments(self) -> list[str]:
        """The experiments that claims rest on, each once."""
        return list(dict.fromkeys(name for claim in self.claims for name in claim.experiments))


@dataclass(frozen=True)
class StudyFile:
    """A study's file and one of its profiles.

    Attributes
    ----------
    path
        The file.
    profile
        The profile; empty for the full edition.
    """

    path: Path
    profile: str

    @property
    def name(self) -> str:
        """The study's name."""
        return study_name(self.path, self.profile)


@dataclass(frozen=True)
class ClaimSet:
    """The claims at one of their profiles.

    Attributes
    ----------
    path
        The claims file.
    profile
        One of its profiles, or FULL.
    claims
        What it says.
    """

    path: Path
    profile: str
    claims: Claims

    @property
    def name(self) -> str:
        """Name of the folders of its results and its report."""
        return study_name(self.path, self.profile)

    def in_language(self, language: Language) -> ClaimSet:
        """Return the same with another language of the report."""
        return replace(self, claims=self.claims.model_copy(update={"language": language}))

    @cached_property
    def studies(self) -> dict[str, StudyFile]:
        """The studies at this profile, by the name that parts know them by."""
        return {
            name: StudyFile(self.path.parent / study.file, study.profiles.get(self.profile, ""))
            for name, study in self.claims.studies.items()
        }


_MODELS: dict[str, type[BaseModel]] = {
    "contrast": Contrast,
    "parts": Part,
    "claims": Claim,
    "studies": FeedingStudy,
    "literature": Published,
}


def load_claims(path: Path, profile: str | None = None) -> ClaimSet:
    """Read and check the claims file at `path`.

    Parameters
    ----------
    profile
        One of its profiles; FULL or none for the full edition of every study.

    Raises
    ------
    UserError
        One line naming the file, the key, the bad value and what is allowed.
    """
    given = read_mapping(path, "claims", "benchmarks/claims.yaml", Claims.model_fields)
    try:
        claims = Claims.model_validate(given)
    except ValidationError as error:
        raise UserError(f"{path}: {problem_in_words(error, Claims, _MODELS)}") from None
    if profile not in (None, "", FULL, *claims.profiles):
        raise UserError(f"{path}: profiles: has no '{profile}'; allowed: {', '.join([*claims.profiles, FULL])}")
    return ClaimSet(path, profile or FULL, claims)
