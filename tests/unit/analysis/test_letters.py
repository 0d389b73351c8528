"""Groups are the maximal cliques of the graph of ties: the oracle is networkx."""

import itertools

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainatlas.analysis.letters import bearers, groups, letters

NAMES = "ABCDEFG"
PAIRS = list(itertools.combinations(NAMES, 2))


@given(apart=st.lists(st.sampled_from(PAIRS), unique=True))
def test_groups_are_the_maximal_cliques_of_ties(apart: list[tuple[str, str]]) -> None:
    ties = networkx.Graph()
    ties.add_nodes_from(NAMES)
    ties.add_edges_from(pair for pair in PAIRS if pair not in apart)
    found = groups(NAMES, apart)
    assert sorted(found) == sorted(tuple(sorted(clique)) for clique in networkx.find_cliques(ties))
    assert found == groups(NAMES, [(b, a) for a, b in reversed(apart)])


@given(apart=st.lists(st.sampled_from(PAIRS), unique=True))
def test_two_names_share_a_letter_if_and_only_if_they_are_tied(apart: list[tuple[str, str]]) -> None:
    found = letters(NAMES, apart)
    for pair in PAIRS:
        assert bool(set(found[pair[0]]) & set(found[pair[1]])) == (pair not in apart)
    assert found["A"].startswith("a")


@pytest.mark.parametrize(
    ("apart", "expected"),
    [
        ([], ["a", "a", "a"]),
        ([("A", "C")], ["a", "ab", "b"]),
        ([("A", "B"), ("A", "C"), ("B", "C")], ["a", "b", "c"]),
        ([("A", "B"), ("B", "C")], ["a", "b", "a"]),
    ],
)
def test_small_displays(apart: list[tuple[str, str]], expected: list[str]) -> None:
    assert list(letters("ABC", apart).values()) == expected


def test_after_z_letters_are_numbered() -> None:
    names = list(range(28))
    found = letters(names, itertools.combinations(names, 2))
    assert [found[name] for name in (0, 25, 26, 27)] == ["a", "z", "a1", "b1"]


@given(apart=st.lists(st.sampled_from(PAIRS), unique=True))
def test_from_letters_the_groups_are_told_again(apart: list[tuple[str, str]]) -> None:
    assert sorted(map(tuple, bearers(letters(NAMES, apart)).values())) == sorted(groups(NAMES, apart))


def test_numbered_letters_are_told_from_those_before_them() -> None:
    assert bearers({"x": "ab1", "y": "a1b", "z": "ba"}) == {"a": ["x", "z"], "b1": ["x"], "a1": ["y"], "b": ["y", "z"]}
