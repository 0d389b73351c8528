"""A trial: one training run, fully resolved, and the identity that follows from what it is.

`trial_id` is a digest of the configuration alone. It does not know the study's name, the order
of the YAML, a row number or a time, so growing or reordering a study leaves every existing
trial, and its results, where they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any

TRAINING_VERSION = 5
"""Raised by hand whenever the numbers that training yields change; part of every trial's identity."""

FACTORS = (
    "activation",
    "init",
    "normalisation",
    "optimizer",
    "preprocessing",
    "schedule",
    "regularisation",
    "augmentation",
)
"""The factors a study crosses, in the order in which tables and reports show them."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One training run: a level of every factor, its hyper-parameters, a seed.

    Levels are canonical texts (see `trainatlas.study.levels`). A field that is added later must
    have a default that means "as before": fields at their default stay out of the identity,
    so old trials keep theirs.

    Attributes
    ----------
    learning_rate
        Step size, > 0.
    batch_size
        Examples a step, 1 to the size of the training part.
    epochs
        Passes over the training part, >= 1.
    seed
        Fixes split, data order, initial draws and every noise stream, >= 0.
    validation_share, test_share
        Shares of all examples, in (0, 1).
    user_code
        Digests of the user's own files that levels name (see `trainatlas.study.user_code`), empty for none.
    data_digest
        Digest of the user's own data; empty for the data sets of the catalogue, whose checksums are fixed.
    stop_epoch
        The epoch after which training ends, though schedules are made for `epochs`; 0 for the last.
    """

    data: str
    network: str
    activation: str
    init: str
    normalisation: str
    optimizer: str
    preprocessing: str
    learning_rate: float
    batch_size: int
    epochs: int
    seed: int
    validation_share: float = 0.2
    test_share: float = 0.2
    schedule: str = "constant"
    regularisation: str = "none"
    augmentation: str = "none"
    user_code: str = ""
    data_digest: str = ""
    stop_epoch: int = 0

    def canonical_json(self) -> str:
        """Return the configuration as JSON: keys sorted, defaults left out, no spaces."""
        return _FIELDS.compact(*_FIELDS.repeated(self)) % _FIELDS.numbers(self)

    def json(self) -> str:
        """Return the same as files have it, with spaces and whatever letters there are."""
        return _FIELDS.spaced(*_FIELDS.repeated(self)) % _FIELDS.numbers(self)

    @property
    def trial_id(self) -> str:
        """Return 16 hexadecimal digits of SHA-256 over the configuration and TRAINING_VERSION."""
        text = f"{TRAINING_VERSION}\n{self.canonical_json()}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def cell(self) -> tuple[str, ...]:
        """Return the level of every factor, in the order of `FACTORS`."""
        return tuple(getattr(self, factor) for factor in FACTORS)

    @property
    def last_epoch(self) -> int:
        """Return the epoch after which training ends, counted from 1."""
        return self.stop_epoch or self.epochs

    def levels(self) -> dict[str, str]:
        """Return the level of every factor, and the network, by name."""
        return dict(zip(FACTORS, self.cell, strict=True)) | {"network": self.network}

    def values(self) -> tuple[Any, ...]:
        """Return every field, in the order of declaration."""
        values: tuple[Any, ...] = _FIELDS.values(self)
        return values

    def as_dict(self) -> dict[str, Any]:
        """Return every field by name, defaults included."""
        return dict(zip(_FIELDS.defaults, self.values(), strict=True))


DEFAULT_LEVELS = {field.name: str(field.default) for field in fields(Trial) if field.name in FACTORS[5:]}
"""The level of each factor that a study need not name."""


class _Fields:
    """The fields of a class of trials, and templates of their JSON.

    Numbers without a default take about as many values as there are trials: they have places in a template. Whatever else
    trials are is the same for many of them, and so is the template.
    """

    def __init__(self, kind: type[Trial]) -> None:
        described = {field.name: field for field in fields(kind)}
        self.defaults = {name: field.default for name, field in described.items()}
        self.values = attrgetter(*self.defaults)
        required = sorted(name for name, default in self.defaults.items() if default is MISSING)
        self._numbers = [name for name in required if described[name].type != "str"]
        self._repeated = [name for name in self.defaults if name not in self._numbers]
        self.numbers, self.repeated = attrgetter(*self._numbers), attrgetter(*self._repeated)
        self.compact = self._templates(",", ":", json.JSONEncoder())
        self.spaced = self._templates(", ", ": ", json.JSONEncoder(ensure_ascii=False))

    def _templates(self, comma: str, colon: str, encoder: json.JSONEncoder) -> Callable[..., str]:
        """Return what gives the template for values of the repeated fields: sorted, without defaults, `%r` for numbers."""

        @lru_cache(maxsize=65_536, typed=True)
        def template(*values: str | float) -> str:
            known = dict.fromkeys(self._numbers, "%r")
            for name, value in zip(self._repeated, values, strict=True):
                if value != self.defaults[name]:
                    known[name] = encoder.encode(value).replace("%", "%%")
            return "{" + comma.join(f'"{name}"{colon}{known[name]}' for name in sorted(known)) + "}"

        return template


_FIELDS = _Fields(Trial)

DEFAULTS = {name: default for name, default in _FIELDS.defaults.items() if default is not MISSING}
"""The fields that have a default, and it: what the JSON of a trial leaves out."""
