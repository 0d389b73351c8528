"""Packs are whole multiples of the workers, about equally dear, and hold every stack once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainatlas.study.dealing import LONGEST, MOST_JOBS, PACK_LIMIT, PACKS_EACH, START, STARTS, Labour, deal

PRICES = st.lists(st.floats(0.01, 1000), max_size=60)


@given(prices=PRICES, packs=st.integers(1, 12))
def test_every_stack_is_dealt_once_and_no_pack_is_dearer_than_the_bound(prices: list[float], packs: int) -> None:
    dealt = deal(prices, packs)
    assert sorted(position for pack in dealt for position in pack) == list(range(len(prices)))
    assert all(dealt)
    if prices:
        costs = [sum(prices[position] for position in pack) for pack in dealt]
        assert costs == sorted(costs, reverse=True)
        # No pack is dearer than an even share and the dearest stack that came on top of it (Graham 1969).
        assert max(costs) <= sum(prices) / packs + max(prices) * (1 - 1 / packs) + 1e-6


@pytest.mark.parametrize("packs", [2, 3, 8])
def test_stacks_of_one_price_are_dealt_evenly(packs: int) -> None:
    assert [len(pack) for pack in deal([5.0] * 24, packs)] == [24 // packs] * packs


@given(seconds=st.floats(0, 1e6), trials=st.integers(0, 200_000), workers=st.integers(1, 64))
def test_packs_are_a_multiple_of_the_workers_and_neither_too_short_nor_too_long(
    seconds: float, trials: int, workers: int
) -> None:
    packs = Labour(workers).packs(seconds, trials)
    assert packs % workers == 0 and packs >= workers
    assert seconds / packs <= LONGEST and trials / packs <= PACK_LIMIT
    forced = max(seconds / LONGEST, trials / PACK_LIMIT) / workers
    if packs > workers and packs / workers > forced + 1:  # more than there have to be
        assert seconds / packs >= STARTS * START
        assert packs <= PACKS_EACH * workers


def test_jobs_that_start_slowly_are_made_fewer() -> None:
    assert [Labour(2, start_seconds=start).packs(800.0, 4000) for start in (1.0, 4.0, 10.0, 30.0)] == [8, 8, 4, 2]


@given(seconds=st.floats(0, 1e6), trials=st.integers(0, 200_000), workers=st.integers(1, 2**63 - 1))
def test_a_scheduler_gets_packs_of_the_length_asked_for_but_no_more_than_a_few_hundred(
    seconds: float, trials: int, workers: int
) -> None:
    packs = Labour(workers, 1200.0).packs(seconds, trials)
    assert packs >= 1 and trials / packs <= PACK_LIMIT
    if packs > trials / PACK_LIMIT + 1:  # more than there have to be
        assert packs <= MOST_JOBS
        assert packs == 1 or seconds / packs >= 1200 / 1.5
    if packs < MOST_JOBS:
        assert seconds / packs <= 1200 * 1.5


def test_a_short_study_is_one_job() -> None:
    assert Labour(100, 1200.0).packs(30.0, 500) == 1
    assert Labour(100, 1200.0).packs(0.0, 0) == 1
    assert Labour(100, 1200.0).packs(30_000.0, 20_000) == 25
    assert Labour(100, 1200.0).packs(3_000_000.0, 20_000) == MOST_JOBS
