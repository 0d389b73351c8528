"""A trial's identity follows from what it is and from nothing else."""

import hashlib
import inspect
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainatlas.study import trial as module
from trainatlas.study.trial import DEFAULTS, FACTORS, TRAINING_VERSION, Trial

TRIAL = Trial(
    data="digits",
    network="mlp(width=32)",
    activation="relu",
    init="kaiming_normal",
    normalisation="none",
    optimizer="sgd",
    preprocessing="raw",
    learning_rate=0.1,
    batch_size=64,
    epochs=15,
    seed=1,
)

CONFIGURATION = TRIAL.as_dict()

# Written out by hand: a digest that changes loses every result that users have.
CANONICAL = (
    '{"activation":"relu","batch_size":64,"data":"digits","epochs":15,"init":"kaiming_normal",'
    '"learning_rate":0.1,"network":"mlp(width=32)","normalisation":"none","optimizer":"sgd",'
    '"preprocessing":"raw","seed":1}'
)
CHANGES = {
    "data": "other",
    "network": "mlp",
    "activation": "tanh",
    "init": "normal",
    "normalisation": "batch",
    "optimizer": "adam",
    "preprocessing": "standardize",
    "learning_rate": 0.2,
    "batch_size": 32,
    "epochs": 16,
    "seed": 2,
    "validation_share": 0.1,
    "test_share": 0.1,
    "schedule": "cosine",
    "regularisation": "l2",
    "augmentation": "crop",
    "user_code": "0123456789ab",
    "data_digest": "0123456789ab",
    "stop_epoch": 3,
}


def test_the_identity_is_what_it_always_was() -> None:
    assert TRIAL.canonical_json() == CANONICAL
    text = f"{TRAINING_VERSION}\n{CANONICAL}"
    assert TRIAL.trial_id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_the_golden_identity_of_version_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRAINING_VERSION", 1)
    assert TRIAL.trial_id == "68ad13af134e3b55"


@given(
    rate=st.floats(1e-300, 1e300),
    seed=st.integers(0, 2**31),
    text=st.text(),
    changes=st.sets(st.sampled_from(sorted(CHANGES))),
)
def test_it_is_json_with_sorted_keys_and_no_defaults(rate: float, seed: int, text: str, changes: set[str]) -> None:
    changed = {name: CHANGES[name] for name in changes} | {"learning_rate": rate, "seed": seed, "activation": text}
    trial = TRIAL._replace(**changed)
    given_ = {name: value for name, value in trial.as_dict().items() if name not in DEFAULTS or value != DEFAULTS[name]}
    assert trial.canonical_json() == json.dumps(given_, sort_keys=True, separators=(",", ":"))

    identity = f"{TRAINING_VERSION}\n{trial.canonical_json()}"
    assert trial.trial_id == hashlib.sha256(identity.encode()).hexdigest()[:16]


def test_a_number_is_written_as_its_field_has_it_whatever_kind_was_given_first() -> None:
    for stop_epoch, share in ((4.0, 1), (4, 1.0), (4.0, 1)):
        text = TRIAL._replace(stop_epoch=stop_epoch, validation_share=share).canonical_json()  # type: ignore[arg-type]
        assert text.endswith('"stop_epoch":4,"validation_share":1.0}'), text


@pytest.mark.parametrize("name", Trial._fields)
def test_every_field_is_part_of_the_identity(name: str) -> None:
    assert TRIAL._replace(**{name: CHANGES[name]}).trial_id != TRIAL.trial_id


def test_a_field_at_its_default_stays_out_of_the_identity() -> None:
    assert TRIAL._replace(validation_share=0.2, test_share=0.2).trial_id == TRIAL.trial_id
    assert not {"validation_share", "test_share"} & set(json.loads(TRIAL.canonical_json()))


def test_a_field_added_later_leaves_old_trials_their_identity() -> None:
    last = "    stop_epoch: int = 0\n"
    source = inspect.getsource(module)
    assert source.count(last) == 1
    later: dict[str, Any] = {"__name__": module.__name__}
    exec(source.replace(last, f"{last}    weight_decay: float = 0.0\n"), later)
    assert later["Trial"](**CONFIGURATION).trial_id == TRIAL.trial_id
    assert later["Trial"](**CONFIGURATION, weight_decay=0.1).trial_id != TRIAL.trial_id


def test_training_version_is_part_of_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    before = TRIAL.trial_id
    monkeypatch.setattr(module, "TRAINING_VERSION", TRAINING_VERSION + 1)
    assert TRIAL.trial_id != before


def test_identity_survives_a_round_trip_through_json() -> None:
    again = Trial(**json.loads(json.dumps(TRIAL.as_dict())))
    assert again == TRIAL
    assert again.trial_id == TRIAL.trial_id


def test_the_cell_is_the_levels_in_the_order_of_the_factors() -> None:
    assert TRIAL.cell == tuple(getattr(TRIAL, factor) for factor in FACTORS)
