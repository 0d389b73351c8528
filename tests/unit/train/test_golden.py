"""The numbers that training yields change only together with TRAINING_VERSION.

The one place where our own numbers are the oracle, since what they guard is that they stay. A trial's
identity holds TRAINING_VERSION, and results are kept by identity: if training changed without it, tables
would mix old numbers and new ones.
"""

import pytest
import torch

from trainatlas.study.trial import TRAINING_VERSION, Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.stacked import train_stack

TRIAL = Trial("digits", "mlp(depth=2, width=16)", "relu", "kaiming_normal", "none", "sgd", "raw", 0.1, 64, 3, 0)
TRIALS = {
    "relu, kaiming_normal, sgd, raw": TRIAL,
    "elu, xavier_normal, batch, momentum, pca": TRIAL._replace(
        activation="elu", init="xavier_normal", normalisation="batch", optimizer="momentum", learning_rate=0.02,
        preprocessing="pca(components=16)", seed=1,
    ),
    "tanh, normal, adam, standardize": TRIAL._replace(
        activation="tanh", init="normal(std=0.1)", optimizer="adam", learning_rate=0.01,
        preprocessing="standardize", seed=2,
    ),
    "gelu, lsuv, layer, nadam, cosine, dropout and L2": TRIAL._replace(
        activation="gelu", init="lsuv(bias=0.01)", normalisation="layer", optimizer="nadam", learning_rate=0.005,
        schedule="cosine(warmup=1.0)", regularisation="l2 + dropout(p=0.2) + gradient_clipping", seed=4,
    ),
    "maxout, orthogonal, lookahead, cnn, crop, mixup": TRIAL._replace(
        network="cnn(depth=2, width=4)", activation="maxout", init="orthogonal", optimizer="lookahead",
        normalisation="group(groups=4)", learning_rate=0.005, augmentation="crop(padding=1) + rotation + mixup", seed=5,
    ),
    "sigmoid, kaiming_uniform, rmsprop, zca": TRIAL._replace(
        activation="sigmoid", init="kaiming_uniform", optimizer="rmsprop", learning_rate=0.01,
        preprocessing="zca_whitening", seed=3,
    ),
}  # fmt: skip

# version: {trial: (first training loss, final training loss, validation loss, test loss)}
GOLDEN: dict[int, dict[str, tuple[float, ...]]] = {
    5: {
        "relu, kaiming_normal, sgd, raw": (2.68774, 1.7432, 1.74818, 1.78622),
        "elu, xavier_normal, batch, momentum, pca": (2.80988, 0.51273, 0.55306, 0.52753),
        "tanh, normal, adam, standardize": (2.30339, 0.30396, 0.32813, 0.35571),
        "gelu, lsuv, layer, nadam, cosine, dropout and L2": (2.77542, 1.35544, 1.35956, 1.31905),
        "maxout, orthogonal, lookahead, cnn, crop, mixup": (2.90922, 1.94974, 1.98182, 1.93318),
        "sigmoid, kaiming_uniform, rmsprop, zca": (2.60293, 0.45856, 0.53922, 0.56854),
    },
}

# Far above what another processor or another build of torch changes in 48 steps of single precision,
# far below what any change of a draw, an order, a formula or a default does.
TOLERANCE = 2e-3


@pytest.mark.parametrize("name", TRIALS)
def test_training_yields_the_numbers_of_its_version(name: str) -> None:
    device = torch.device("cpu")
    (result,) = train_stack([TRIALS[name]], ExampleStore(device), device)
    columns = ("first_train_loss", "final_train_loss", "final_validation_loss", "test_loss")
    found = tuple(round(result.metrics[column] or 0.0, 5) for column in columns)
    assert TRAINING_VERSION in GOLDEN, (
        f'TRAINING_VERSION is {TRAINING_VERSION}: add {TRAINING_VERSION}: {{"{name}": {found}, ...}} to GOLDEN'
    )
    assert found == pytest.approx(GOLDEN[TRAINING_VERSION][name], rel=TOLERANCE), (
        "training yields other numbers than before. If that is meant, raise TRAINING_VERSION in "
        f"src/trainatlas/study/trial.py and write the new numbers into GOLDEN of this file: {found}"
    )
