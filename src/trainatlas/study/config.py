"""The study: what one YAML file may say, checked before anything is planned.

`load_study` is the only reader of study files. It returns a frozen, fully resolved `Study`, or
raises one `UserError` that names the file, the key, the bad value and what is allowed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from trainatlas.study import user_code
from trainatlas.study.errors import UserError
from trainatlas.study.languages import ENGLISH, Language
from trainatlas.study.levels import LevelTable, name_of, parse_level
from trainatlas.study.parameters import BATCH_SIZE, Parameter, ParameterSpace, Values
from trainatlas.study.ranges import RateRange, Share, StrictModel, Whole
from trainatlas.study.reading import guess, problem_in_words, read_mapping
from trainatlas.study.samples import (
    STRATEGIES,
    CoarseToFine,
    GridSample,
    Sample,
    SuccessiveHalving,
)
from trainatlas.study.splits import PartSizes, part_sizes
from trainatlas.study.trial import DEFAULT_LEVELS, FACTORS, Trial

_LEVELS = itemgetter(*FACTORS)


@dataclass(frozen=True)
class Rule:
    """A combination that makes no sense, whatever the study: why, and for which settings.

    `applies` takes the levels by factor and beside them "data", "network", "batch_size" and "shape", that of an example.
    """

    reason: str
    applies: Callable[[Mapping[str, Any]], bool]


class Facts(Protocol):
    """What planning needs to know of data, without loading them."""

    @property
    def examples(self) -> int:
        """Examples of all parts."""

    @property
    def given(self) -> tuple[int, int] | None:
        """Validation and test examples that the data bring themselves; None where they bring no split."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an example."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    @property
    def digest(self) -> str:
        """Digest of the user's own data; empty for data sets of the catalogue."""


class Catalogue(dict[str, LevelTable]):
    """The table of every factor, and of "data" and "network", by name, and what goes with them.

    Parameters
    ----------
    rules
        What cannot be combined.
    facts
        (text of the data, the study's folder) -> facts; raises UserError where the user's own data are not to be had.
    is_user_data
        Whether a text names data of the user's own.
    """

    def __init__(
        self,
        tables: Mapping[str, LevelTable],
        rules: tuple[Rule, ...],
        facts: Callable[[str, Path], Facts],
        is_user_data: Callable[[str], bool],
    ) -> None:
        super().__init__(tables)
        self.rules, self.facts, self.is_user_data = rules, facts, is_user_data


Probes = Literal["off", "light", "standard", "full"]
"""How much is measured while training; `trainatlas.study.planning.Pack` says what each is."""


class Target(StrictModel):
    """A mark that a trial reaches or not: validation accuracy at least, or training error at most."""

    metric: Literal["validation_accuracy", "train_error"]
    value: Share

    @property
    def column(self) -> str:
        """Name of the column that holds the steps needed to reach the target."""
        return f"steps_to_{self.metric}_{self.value:g}"

    @property
    def text(self) -> str:
        """The target in words."""
        if self.metric == "train_error":
            return f"training error at most {self.value:.0%}"
        return f"validation accuracy at least {self.value:.0%}"


class Exclusion(StrictModel):
    """A combination of levels that is not run, and why."""

    when: dict[str, tuple[str, ...]]
    reason: Annotated[str, Field(min_length=1)]

    def matches(self, cell: Mapping[str, str]) -> bool:
        """Return whether every factor named in the rule stands at one of the rule's levels."""
        return all(cell[factor] in levels for factor, levels in self.when.items())


class Study(StrictModel):
    """A validated study. Levels are canonical; `name` is the file's name without its extension."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
    title: Annotated[str, Field(min_length=1)]
    question: Annotated[str, Field(min_length=1)]
    data: str
    network: str
    epochs: Annotated[Whole, Field(ge=1, le=100_000)]
    batch_size: Annotated[Whole, Field(ge=1)]
    validation_share: Share = 0.2
    test_share: Share = 0.2
    factors: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]]
    learning_rate: dict[str, RateRange]
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    samples: Annotated[tuple[Sample, ...], Field(min_length=1)]
    targets: tuple[Target, ...] = ()
    exclude: tuple[Exclusion, ...] = ()
    probes: Probes = "standard"
    pack_trials: Annotated[Whole, Field(ge=1, le=100_000)] = 512
    max_trials: Annotated[Whole, Field(ge=1)] = 100_000
    language: Language = ENGLISH
    profiles: dict[str, dict[str, Any]] = Field(default_factory=dict)

    _rules: tuple[Rule, ...] = PrivateAttr(default=())
    _space: Any = PrivateAttr(default=None)
    _setting: dict[str, Any] = PrivateAttr(default_factory=dict)
    _sorted_out: tuple[list[tuple[str, ...]], Counter[str]] | None = PrivateAttr(default=None)
    _facts: Any = PrivateAttr(default=None)
    _folder: Path = PrivateAttr(default=Path())
    _named: tuple[Path, str | None] = PrivateAttr(default=(Path(), None))

    @field_validator("data", "network", mode="after")
    @classmethod
    def _known(cls, text: str, info: ValidationInfo) -> str:
        if info.field_name == "data" and _tables(info).is_user_data(text):
            return text
        return _canonical(text, str(info.field_name), info)

    @field_validator("probes", mode="before")
    @classmethod
    def _off(cls, given: Any) -> Any:
        return "off" if given is False else given  # YAML reads a bare `off` so

    @field_validator("factors", mode="before")
    @classmethod
    def _levels(cls, given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, dict):
            raise ValueError(f"is {given!r}; allowed: a mapping of factors to lists of levels")
        for factor in given:
            if factor not in FACTORS:
                raise ValueError(
                    f"unknown factor '{factor}'{guess(str(factor), FACTORS)}; allowed: {', '.join(FACTORS)}"
                )
        resolved = {}
        for factor in FACTORS:
            if factor not in given and factor not in DEFAULT_LEVELS:
                needed = ", ".join(each for each in FACTORS if each not in DEFAULT_LEVELS)
                raise ValueError(f"factor '{factor}' is missing; allowed: levels for each of {needed}")
            levels = given[factor] if factor in given else [DEFAULT_LEVELS[factor]]
            if not isinstance(levels, list) or not levels:
                raise ValueError(f"{factor} is {levels!r}; allowed: a list of at least one level")
            resolved[factor] = _canonical_levels(factor, levels, info)
        return resolved

    @field_validator("learning_rate", mode="after")
    @classmethod
    def _known_optimizers(cls, given: dict[str, RateRange], info: ValidationInfo) -> dict[str, RateRange]:
        resolved: dict[str, RateRange] = {}
        for key, rates in given.items():
            level = key if key == "default" else _canonical(key, "optimizer", info)
            if level in resolved:
                raise ValueError(f"optimizer '{level}' is listed twice; allowed: each once")
            resolved[level] = rates
        return resolved

    @field_validator("targets", mode="after")
    @classmethod
    def _one_column_each(cls, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        columns = [target.column for target in targets]
        for target in targets:
            if columns.count(target.column) > 1:
                raise ValueError(f"{target.metric} {target.value:g} is listed twice; allowed: each target once")
        return targets

    @field_validator("exclude", mode="after")
    @classmethod
    def _known_exclusions(cls, rules: tuple[Exclusion, ...], info: ValidationInfo) -> tuple[Exclusion, ...]:
        resolved = []
        for rule in rules:
            for factor in rule.when:
                if factor not in FACTORS:
                    raise ValueError(f"unknown factor '{factor}'; allowed: {', '.join(FACTORS)}")
            when = {factor: _canonical_levels(factor, list(levels), info) for factor, levels in rule.when.items()}
            resolved.append(Exclusion(when=when, reason=rule.reason))
        return tuple(resolved)

    @field_validator("samples", mode="after")
    @classmethod
    def _one_name_each(cls, samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        names = [sample.name for sample in samples]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two samples are named '{name}'; allowed: a name of its own for each")
        grids = [sample.name for sample in samples if isinstance(sample, GridSample)]
        if len(grids) > 1:  # they would share tuning runs, and tables know a cell by its levels alone
            raise ValueError(f"'{grids[0]}' and '{grids[1]}' are both grids; allowed: one grid a study")
        return samples

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Study:
        self._rules = _tables(info).rules
        self._folder = info.context["folder"]  # type: ignore[index]
        self._named = info.context["named"]  # type: ignore[index]
        try:
            self._facts = _tables(info).facts(self.data, self._folder)
        except UserError as error:
            raise ValueError(f"data: {error}") from None
        for optimizer in self.factors["optimizer"]:
            self.rate_range(optimizer)
        try:
            self._space = ParameterSpace(self.parameters, self.factors, _tables(info))
        except ValueError as error:
            raise ValueError(f"parameters: {error}") from None
        self._check_samples()
        data = self.facts
        self._setting = {
            "data": self.data,
            "network": self.network,
            "batch_size": self.batch_size,
            "shape": data.shape,
        }
        sizes = self.parts
        if min(sizes) < data.classes:
            raise ValueError(
                f"validation_share {self.validation_share:g} and test_share {self.test_share:g} leave parts of "
                f"{sizes.train}, {sizes.validation} and {sizes.test} examples; allowed: at least {data.classes} in "
                f"each, one of every class"
            )
        tried = self.parameters[BATCH_SIZE].ends() if BATCH_SIZE in self.parameters else ()
        for where, size in [("batch_size", self.batch_size), *((f"parameters: {BATCH_SIZE}", size) for size in tried)]:
            if int(size) > sizes.train:
                raise ValueError(f"{where} is {size}; allowed: 1 to {sizes.train}, the size of the training part")
        if user_code.is_user_level(self.network):
            for factor in ("activation", "normalisation"):
                if len(self.factors[factor]) > 1:
                    raise ValueError(
                        f"factors: {factor} has {len(self.factors[factor])} levels; allowed: one, since a network of "
                        f"your own decides its {factor} itself"
                    )
        if all(self.exclusion(cell) is not None for cell in self.all_cells()):
            reasons = sorted(self.excluded())
            raise ValueError(
                f"exclude: every cell is excluded, so the study is empty ({'; '.join(reasons)}); "
                f"allowed: at least one cell"
            )
        return self

    def _check_samples(self) -> None:
        for sample in self.samples:
            try:
                self._check_sample(sample)
            except ValueError as error:
                raise ValueError(f"samples: '{sample.name}': {error}") from None

    def _check_sample(self, sample: Sample) -> None:
        if isinstance(sample, GridSample):
            for name in sample.tune:
                if name != "learning_rate" and name not in self.parameters:
                    allowed = ["learning_rate", *self.parameters]
                    raise ValueError(f"tune: unknown parameter '{name}'; allowed: {', '.join(allowed)}")
        elif isinstance(sample, CoarseToFine) and sample.coarse_epochs >= self.epochs:
            raise ValueError(f"coarse_epochs is {sample.coarse_epochs}; allowed: fewer than epochs, {self.epochs}")
        elif isinstance(sample, SuccessiveHalving):
            if sample.first_epochs >= self.epochs:
                raise ValueError(f"first_epochs is {sample.first_epochs}; allowed: fewer than epochs, {self.epochs}")
            rungs = sample.rungs(self.epochs)
            if not rungs[-1][0]:
                needed = sample.reduction ** (len(rungs) - 1)
                raise ValueError(
                    f"draws is {sample.draws}, of which none is left for the last of {len(rungs)} rungs; allowed: at least "
                    f"{needed}"
                )

    def __eq__(self, other: object) -> bool:
        """Return whether both say the same of the same folder; what has been worked out from that plays no part."""
        if not isinstance(other, Study) or self._folder != other._folder:
            return False
        return all(getattr(self, name) == getattr(other, name) for name in type(self).model_fields)

    __hash__ = None  # type: ignore[assignment]

    @property
    def space(self) -> ParameterSpace:
        """The study's parameters beside the learning rate, and what they make of levels."""
        space: ParameterSpace = self._space
        return space

    @property
    def folder(self) -> Path:
        """The folder the study's file lies in, which paths in it are relative to."""
        return self._folder

    @property
    def named(self) -> tuple[Path, str | None]:
        """The study's file, as it was named, and its profile: what commands are told; None is the study itself."""
        return self._named

    @property
    def facts(self) -> Facts:
        """What is known of the data without loading them."""
        facts: Facts = self._facts
        return facts

    @cached_property
    def parts(self) -> PartSizes:
        """Numbers of examples for training, validation and test."""
        return part_sizes(self.facts.examples, self.validation_share, self.test_share, self.facts.given)

    @property
    def varied(self) -> tuple[str, ...]:
        """The factors of more than one level; where there is none, those that every study names."""
        varied = tuple(factor for factor in FACTORS if len(self.factors[factor]) > 1)
        return varied or tuple(factor for factor in FACTORS if factor not in DEFAULT_LEVELS)

    @property
    def stated(self) -> tuple[str, ...]:
        """The factors at other levels than those a study need not name."""
        return tuple(factor for factor in FACTORS if self.factors[factor] != (DEFAULT_LEVELS.get(factor),))

    def rate_range(self, optimizer: str) -> RateRange:
        """Return the range for an optimizer's level: its own entry, its name's, or `default`."""
        return self.learning_rate[self.rate_key(optimizer)]

    def rate_key(self, optimizer: str) -> str:
        """Return under which key of `learning_rate` the range for an optimizer's level stands."""
        for key in (optimizer, name_of(optimizer), "default"):
            if key in self.learning_rate:
                return key
        raise ValueError(f"learning_rate: no range for '{optimizer}'; allowed: an entry '{optimizer}' or 'default'")

    def exclusion(self, cell: Mapping[str, str], values: Values | None = None) -> str | None:
        """Return why `cell` is not run: the study's own reason, or the catalogue's; None where it is run.

        Parameters
        ----------
        values
            Of parameters.
        """
        if values and self.parameters:
            return self._reason(cell, values)
        key = _LEVELS(cell)
        judged = self.judged
        if key not in judged:
            judged[key] = self._reason(cell, {})
        return judged[key]

    @cached_property
    def judged(self) -> dict[tuple[str, ...], str | None]:
        """What `exclusion` has said so far, by the levels of a cell."""
        return {}

    def example(self, levels: Mapping[str, str]) -> Trial:
        """Return some trial of the study at these levels: all of its trials there have all but its numbers in common."""
        key = _LEVELS(levels)
        if key not in self._examples:
            self._examples[key] = Trial(
                data=self.data,
                network=self.network,
                learning_rate=1.0,
                batch_size=self.batch_size,
                epochs=self.epochs,
                seed=0,
                validation_share=self.validation_share,
                test_share=self.test_share,
                user_code=user_code.digests({**levels, "network": self.network}) if self._has_user_code else "",
                data_digest=self.facts.digest,
                **dict(zip(FACTORS, key, strict=True)),
            )
        return self._examples[key]

    @cached_property
    def _examples(self) -> dict[tuple[str, ...], Trial]:
        return {}

    @cached_property
    def _has_user_code(self) -> bool:
        """Whether any level, or the network, is the user's own."""
        levels = itertools.chain([self.network], *self.factors.values())
        return any(map(user_code.is_user_level, levels))

    def _reason(self, cell: Mapping[str, str], values: Values) -> str | None:
        for exclusion in self.exclude:
            if exclusion.matches(cell):
                return exclusion.reason
        setting = {**self._setting, **cell}
        if values:
            setting |= self.space.applied(cell, values)
            setting[BATCH_SIZE] = values.get(BATCH_SIZE, self.batch_size)
        return next((rule.reason for rule in self._rules if rule.applies(setting)), None)

    def all_cells(self) -> Iterator[dict[str, str]]:
        """Yield every combination of levels, excluded ones too, first factor slowest."""
        for levels in itertools.product(*(self.factors[factor] for factor in FACTORS)):
            yield dict(zip(FACTORS, levels, strict=True))

    def cells(self) -> Iterator[dict[str, str]]:
        """Yield the combinations that are run."""
        return (dict(zip(FACTORS, levels, strict=True)) for levels in self._cells_and_reasons()[0])

    def excluded(self) -> Counter[str]:
        """Return how many combinations are not run, by reason."""
        return self._cells_and_reasons()[1]

    def _cells_and_reasons(self) -> tuple[list[tuple[str, ...]], Counter[str]]:
        """Return what is run and what is not, sorted out once."""
        if self._sorted_out is None:
            found: list[tuple[str, ...]] = []
            reasons: Counter[str] = Counter()
            for cell in self.all_cells():
                reason = self.exclusion(cell)
                if reason is None:
                    found.append(tuple(cell.values()))
                else:
                    reasons[reason] += 1
            self._sorted_out = found, reasons
        return self._sorted_out

    def digest(self) -> str:
        """Return 16 hexadecimal digits that change when anything the study says changes, but for its report's language."""
        text = json.dumps(self.model_dump(mode="json", exclude={"profiles", "language"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _tables(info: ValidationInfo) -> Catalogue:
    tables: Catalogue = info.context["catalogue"]  # type: ignore[index]
    return tables


def _canonical(text: Any, factor: str, info: ValidationInfo) -> str:
    table = _tables(info)[factor]
    if text is None:
        text = "none"  # YAML reads a bare `null` or `~` so; `none` is the level's name
    if not isinstance(text, str):
        raise ValueError(f"{factor}: {text!r} is no level; allowed: {table.allowed}")
    path = user_code.path_of(text)
    try:
        if path is not None and table.user_build is not None:
            user_code.read(path, info.context["folder"])  # type: ignore[index]
        return parse_level(text, table)
    except UserError as error:
        raise ValueError(f"{error}{guess(text, table)}") from None


def _canonical_levels(factor: str, levels: list[Any], info: ValidationInfo) -> tuple[str, ...]:
    canonical = tuple(_canonical(level, factor, info) for level in levels)
    for level in canonical:
        if canonical.count(level) > 1:
            raise ValueError(f"{factor}: level '{level}' is listed twice; allowed: each level once")
    return canonical


FULL = "full"
"""The profile that every study has: what its file says, with nothing put in its place."""


def study_name(path: Path, profile: str | None) -> str:
    """Return the name of the study that a file and one of its profiles make."""
    return path.stem if profile in (None, "", FULL) else f"{path.stem}-{profile}"


def load_study(path: Path, catalogue: Catalogue, profile: str | None = None) -> Study:
    """Read and check the study file at `path` against the tables of `catalogue`.

    Parameters
    ----------
    profile
        One of the study's `profiles`: its keys take the place of the study's own, and its name joins the study's. With
        FULL, or none, the study is what its file says.

    Raises
    ------
    UserError
        One line naming the file, the key, the bad value and what is allowed: when the file is
        missing, is no YAML, or says anything that is unknown, missing or out of range.
    """
    given = read_mapping(path, "study", "benchmarks/digits.yaml", _keys(Study))
    if "name" in given:
        raise UserError(f"{path}: unknown key 'name'; a study is named by its file, here '{path.stem}'")
    name = study_name(path, profile)
    if name != path.stem:
        profiles = given.get("profiles") or {}
        if not isinstance(profiles, dict) or not isinstance(profiles.get(profile), dict):
            named = list(profiles) if isinstance(profiles, dict) else []
            raise UserError(f"{path}: profiles: has no '{profile}'; allowed: {', '.join([*named, FULL])}")
        given = {**given, **profiles[profile]}
    try:
        called = path, profile if name != path.stem else None
        context = {"catalogue": catalogue, "folder": path.parent, "named": called}
        return Study.model_validate(given | {"name": name}, context=context)
    except ValidationError as error:
        if error.errors()[0]["loc"] == ("name",):
            problem = f"the file's name is '{name}'; allowed: lower-case letters, digits, '-' and '_'"
        else:
            problem = problem_in_words(error, Study, _MODELS, _keys, STRATEGIES)
        raise UserError(f"{path}: {problem}") from None


def _keys(model: type[BaseModel]) -> list[str]:
    return [name for name in model.model_fields if name != "name" or model is not Study]


_MODELS: dict[str, type[BaseModel]] = {
    **STRATEGIES,
    "parameters": Parameter,
    "targets": Target,
    "learning_rate": RateRange,
    "exclude": Exclusion,
}
