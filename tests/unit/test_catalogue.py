"""What makes no sense is left out by rule, with its reason; what trials must share to be stacked is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainatlas.catalogue import RULES, TABLES, impossible, structure
from trainatlas.data.datasets import facts
from trainatlas.study.config import Study
from trainatlas.study.errors import UserError
from trainatlas.study.planning import plan_round
from trainatlas.study.trial import FACTORS, Trial

TRIAL = Trial("digits", "mlp", "relu", "kaiming_normal", "none", "sgd", "raw", 0.1, 64, 3, 0)
CNN = TRIAL._replace(network="cnn(width=8)")

# words of the reason: settings it applies to, settings next to them that are fine
EXAMPLES: dict[str, tuple[list[Trial], list[Trial]]] = {
    "principal components": (
        [CNN._replace(preprocessing=text) for text in ("pca", "pca(components=8)", "pca_whitening(variance=0.9)")],
        [CNN._replace(preprocessing="zca_whitening"), TRIAL._replace(preprocessing="pca")],
    ),
    "instance normalisation": (
        [TRIAL._replace(normalisation="instance")],
        [CNN._replace(normalisation="instance")],
    ),
    "group normalisation": (
        [
            TRIAL._replace(normalisation="group(groups=7)"),
            TRIAL._replace(normalisation="group(groups=64)"),
            CNN._replace(normalisation="group(groups=16)"),
        ],
        [
            TRIAL._replace(normalisation="group"),
            CNN._replace(normalisation="group"),
            TRIAL._replace(normalisation="group(groups=64)", activation="maxout"),
        ],
    ),
    "batch normalisation over a single example": (
        [
            TRIAL._replace(normalisation="batch", batch_size=1),
            TRIAL._replace(normalisation="batch(affine=False)", batch_size=1),
        ],
        [TRIAL._replace(normalisation="batch", batch_size=2), TRIAL._replace(normalisation="layer", batch_size=1)],
    ),
    "weights that start at zero": (
        [TRIAL._replace(normalisation="weight", init="zeros")],
        [TRIAL._replace(normalisation="weight"), TRIAL._replace(init="zeros")],
    ),
    "a convolution needs pixels": (
        [CNN._replace(data="breast_cancer"), CNN._replace(data="ill_scaled", network="resnet")],
        [TRIAL._replace(data="breast_cancer")],
    ),
    "which maxout makes a multiple": (
        [CNN._replace(network="resnet", activation="maxout(k=3)")],
        [CNN._replace(network="cnn_deep", activation="maxout"), CNN._replace(network="resnet")],
    ),
    "no place for a normalisation behind": (
        [CNN._replace(network="resnet(depth=14)", normalisation="batch(position=after)")],
        [CNN._replace(normalisation="batch(position=after)"), CNN._replace(network="resnet", normalisation="batch")],
    ),
    "an augmentation that needs": (
        [
            TRIAL._replace(augmentation="hue"),
            TRIAL._replace(augmentation="crop + saturation"),
            TRIAL._replace(data="ill_scaled", augmentation="crop"),
        ],
        [
            TRIAL._replace(augmentation="crop + rotation"),
            TRIAL._replace(data="cifar10", augmentation="hue"),
            TRIAL._replace(data="ill_scaled", augmentation="gaussian_noise"),
        ],
    ),
}


def reasons(trial: Trial) -> list[str]:
    setting = {**trial.as_dict(), "shape": facts(trial.data, Path()).shape}
    return [rule.reason for rule in RULES if rule.applies(setting)]


def test_every_rule_has_its_examples_here() -> None:
    assert len(EXAMPLES) == len(RULES)


@pytest.mark.parametrize("words", EXAMPLES)
def test_a_rule_excludes_what_it_says_and_nothing_beside(words: str) -> None:
    excluded, fine = EXAMPLES[words]
    for trial in excluded:
        assert [words in reason for reason in reasons(trial)] == [True], trial
    for trial in fine:
        assert reasons(trial) == [], trial
        assert impossible(trial) is None
    assert [impossible(trial) for trial in excluded] == [reasons(trial)[0] for trial in excluded]


def test_data_and_networks_may_be_named_that_a_study_has_at_hand() -> None:
    assert {"digits", "mnist", "fashion_mnist", "cifar10", "ill_scaled", "breast_cancer"} <= set(TABLES["data"])
    assert {"mlp", "cnn", "cnn_deep", "resnet"} <= set(TABLES["network"])


def test_the_plainest_setting_of_every_level_is_not_excluded_everywhere() -> None:
    for factor in FACTORS:
        for level in TABLES[factor]:
            settings = [base._replace(**{factor: level}) for base in (TRIAL, CNN)]
            only_colour = factor == "augmentation" and level in ("saturation", "hue", "color_jitter")
            assert only_colour or any(not reasons(trial) for trial in settings), level


def test_what_the_catalogue_excludes_is_counted_in_the_plan_and_planned_nowhere(
    tiny: dict[str, Any], study_of: Callable[..., Study], tmp_path: Path
) -> None:
    tiny["factors"]["normalisation"] = ["none", "instance", "group(groups=3)"]
    tiny["exclude"] = [{"when": {"optimizer": ["adam"], "normalisation": ["none"]}, "reason": "the study's own"}]
    summary = plan_round(study_of(tiny), tmp_path, 1, structure)
    counts = {entry["reason"]: entry["cells"] for entry in summary["excluded_cells"]}
    own = {reason: number for reason, number in counts.items() if reason == "the study's own"}
    assert own == {"the study's own": 8}
    assert sorted(counts.values()) == [8, 16, 16]
    assert set(counts) - set(own) <= {rule.reason for rule in RULES}
    assert summary["cells"] == 8


def test_a_study_of_nothing_but_exclusions_is_refused_with_the_reason(
    tiny: dict[str, Any], study_of: Callable[..., Study]
) -> None:
    tiny["factors"]["normalisation"] = ["instance"]
    with pytest.raises(UserError, match=r"every cell is excluded.*a channel's pixels"):
        study_of(tiny)


def test_a_second_grid_is_refused(tiny: dict[str, Any], study_of: Callable[..., Study]) -> None:
    tiny["samples"].append(tiny["samples"][0] | {"name": "again"})
    with pytest.raises(UserError, match="'grid' and 'again' are both grids; allowed: one grid a study"):
        study_of(tiny)


ALIKE = {
    "optimizer": "lookahead",
    "init": "lsuv",
    "schedule": "cosine(warmup=1.0)",
    "preprocessing": "global_contrast",
    "augmentation": "rotation",
    "learning_rate": 0.3,
    "seed": 7,
}
APART = {
    "activation": "tanh",
    "normalisation": "batch",
    "regularisation": "l2",
    "preprocessing": "pca(components=8)",
    "augmentation": "mixup",
    "batch_size": 32,
    "epochs": 4,
    "network": "mlp(depth=3)",
    "user_code": "0123456789ab",
}


@pytest.mark.parametrize("field", ALIKE)
def test_what_may_differ_along_a_stack(field: str) -> None:
    assert structure(TRIAL._replace(**{field: ALIKE[field]})) == structure(TRIAL)


@pytest.mark.parametrize("field", APART)
def test_what_keeps_trials_apart(field: str) -> None:
    assert structure(TRIAL._replace(**{field: APART[field]})) != structure(TRIAL)


def test_strengths_of_regularisation_may_differ_and_sizes_that_follow_from_data_keep_seeds_apart() -> None:
    assert structure(TRIAL._replace(regularisation="l2 + dropout")) == structure(
        TRIAL._replace(regularisation="l2(strength=0.1) + dropout(p=0.1)")
    )
    shares = [TRIAL._replace(preprocessing="pca(variance=0.9)", seed=seed) for seed in (0, 1)]
    assert structure(shares[0]) != structure(shares[1])
