"""Draws are keyed by what they are for."""

import hashlib

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trainatlas.study.streams import stream_key, stream_numbers

SEEDS = st.integers(0, 2**31 - 1)


@given(seed=SEEDS, stream=st.text())
def test_the_key_is_the_leading_bits_of_sha256(seed: int, stream: str) -> None:
    digits = hashlib.sha256(f"{seed}/{stream}".encode()).hexdigest()
    assert stream_key(seed, stream) == int(digits[:16], 16) // 2


@given(seed=SEEDS, stream=st.text())
def test_the_key_seeds_numpy_and_torch(seed: int, stream: str) -> None:
    key = stream_key(seed, stream)
    assert torch.Generator().manual_seed(key).initial_seed() == key
    assert np.random.default_rng(key).random() == np.random.default_rng(key).random()


def test_streams_and_seeds_do_not_share_keys() -> None:
    streams = [f"order/{epoch}" for epoch in range(50)] + ["split/test", "init/output.weight"]
    keys = {stream_key(seed, stream) for seed in range(50) for stream in streams}
    assert len(keys) == 50 * len(streams)


def splitmix64(state: int) -> int:
    """The next number after a state, as published: Steele, Lea and Flood 2014, figure 16, with Stafford's variant 13."""
    mask = 2**64 - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


@given(seed=SEEDS, stream=st.text(), count=st.integers(0, 20))
def test_numbers_are_those_of_splitmix64_from_the_key(seed: int, stream: str, count: int) -> None:
    key = stream_key(seed, stream)
    expected = [splitmix64((key + n * 0x9E3779B97F4A7C15) % 2**64) for n in range(count)]
    assert stream_numbers(seed, stream, count).tolist() == expected


def test_the_generator_gives_its_published_numbers() -> None:
    """The first of seed 1234567, which implementations are commonly checked by."""
    assert splitmix64(1234567) == 6457827717110365317


def test_numbers_of_two_streams_are_independent_and_uniform() -> None:
    one, other = (
        stream_numbers(7, name, 100_000) / 2.0**64 for name in ("draws/activation/relu", "draws/activation/tanh")
    )
    assert stats.kstest(one, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(100_000)
