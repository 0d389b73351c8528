import math

import pytest

from trainatlas.catalogue import TABLES
from trainatlas.report import wording
from trainatlas.study.trial import FACTORS


@pytest.mark.parametrize("factor", FACTORS)
def test_levels_of_a_factor_keep_distinct_names(factor):
    shown = [wording.level_name(level) for level in TABLES[factor]]
    assert len(set(shown)) == len(shown)


def test_options_stay_visible():
    assert "0.2" in wording.level_name("leaky_relu(slope=0.2)")
    assert wording.level_name("normal") == "normal 0.01"
    assert wording.level_name("normal(std=1.0)") == "normal 1"


def test_infinitely_many_steps_read_never_and_missing_ones_a_dash():
    assert wording.steps(math.inf) == "never"
    assert wording.steps(math.nan) == "–"
    assert wording.steps(1234.0) == "1,234"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.inf, "never"),
        (math.nan, "–"),
        (0.0, "0"),
        (0.0523, "0.052"),
        (1.26, "1.3"),
        (12.6, "13"),
        (1234.0, "1,234"),
    ],
)
def test_seconds_have_two_digits(value, text):
    assert wording.seconds(value) == text


def test_no_interval_says_why():
    assert wording.percent_interval(math.nan, math.nan) == "one seed: no interval"
    assert wording.points_interval(math.nan, math.nan) == "one seed: no interval"


def test_accuracies_are_not_shown_beyond_their_range():
    assert wording.percent_interval(-0.02, 1.03) == "0.0 to 100.0%"


def test_a_list_reads_as_in_a_sentence():
    assert wording.joined(["a"]) == "a"
    assert wording.joined(["a", "b", "c"]) == "a, b and c"
