"""A trial: one training run, fully resolved, and the identity that follows from what it is.

`trial_id` is a digest of the configuration alone. It does not know the study's name, the order
of the YAML, a row number or a time, so growing or reordering a study leaves every existing
trial, and its results, where they are.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple, get_type_hints

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


class Trial(NamedTuple):
    """One training run: a level of every factor, its hyper-parameters, a seed.

    A tuple, because a large study makes a hundred thousand of them: one is made, hashed and compared in a third of the time a
    frozen dataclass takes. Levels are canonical texts (see `trainatlas.study.levels`). A field that is added later must
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
        text: str = _template(*_repeated(self)) % _numbers(self)
        return text

    @property
    def trial_id(self) -> str:
        """Return 16 hexadecimal digits of SHA-256 over the configuration and TRAINING_VERSION."""
        return id_of(self.canonical_json())

    @property
    def cell(self) -> tuple[str, ...]:
        """Return the level of every factor, in the order of `FACTORS`."""
        return tuple(getattr(self, factor) for factor in FACTORS)

    @property
    def last_epoch(self) -> int:
        """Return the epoch after which training ends, counted from 1."""
        return self.stop_epoch or self.epochs

    def at(self, learning_rate: float, batch_size: int, epochs: int, seed: int, stop_epoch: int = 0) -> Trial:
        """Return the trial with other numbers, and else the same: many trials differ in no more."""
        return Trial._make(
            (*self[:_NUMBERS_BEGIN], learning_rate, batch_size, epochs, seed, *self[_NUMBERS_END:-1], stop_epoch)
        )

    def levels(self) -> dict[str, str]:
        """Return the level of every factor, and the network, by name."""
        return dict(zip(FACTORS, self.cell, strict=True)) | {"network": self.network}

    def as_dict(self) -> dict[str, Any]:
        """Return every field by name, defaults included."""
        return self._asdict()


_NUMBERS_BEGIN, _NUMBERS_END = Trial._fields.index("learning_rate"), Trial._fields.index("seed") + 1
"""Where the numbers that `Trial.at` takes stand among the fields; the last of them is the last field."""


def id_of(canonical_json: str) -> str:
    """Return the `trial_id` of a trial from its canonical JSON, for those that need both."""
    return hashlib.sha256(f"{TRAINING_VERSION}\n{canonical_json}".encode()).hexdigest()[:16]


FIELD_TYPES: dict[str, type] = get_type_hints(Trial)
"""The type of each field."""

DEFAULTS: dict[str, Any] = Trial._field_defaults
"""The fields that have a default, and it: what the JSON of a trial leaves out."""

DEFAULT_LEVELS: dict[str, str] = {factor: DEFAULTS[factor] for factor in FACTORS[5:]}
"""The level of each factor that a study need not name."""


# The JSON of a trial is a template, filled in. Numbers without a default take about as many values as there are trials: they
# have places in it. Whatever else trials are is the same for many of them, and so is the template.
_NUMBERS = sorted(name for name in Trial._fields if name not in DEFAULTS and FIELD_TYPES[name] is not str)
_REPEATED = [name for name in Trial._fields if name not in _NUMBERS]
_numbers, _repeated = (itemgetter(*map(Trial._fields.index, names)) for names in (_NUMBERS, _REPEATED))


@lru_cache(maxsize=65_536)
def _template(*repeated: str | float) -> str:
    """Return the canonical JSON, keys sorted, without defaults, with `%r` in the places of numbers."""
    stated = {
        name: json.dumps(FIELD_TYPES[name](value)).replace("%", "%%")  # 1 and 1.0 have one place in the cache
        for name, value in zip(_REPEATED, repeated, strict=True)
        if name not in DEFAULTS or value != DEFAULTS[name]
    }
    return "{" + ",".join(f'"{name}":{stated.get(name, "%r")}' for name in sorted([*stated, *_NUMBERS])) + "}"
