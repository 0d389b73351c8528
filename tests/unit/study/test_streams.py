"""Draws are keyed by what they are for."""

import hashlib

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainatlas.study.streams import stream_key

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
