"""Random numbers that depend on what they are for, never on who else draws.

Every draw in the project comes from a generator of its own, keyed by a seed and the name of a
stream ("split", "order/3", "init/hidden.0.linear.weight" ...). Two trials with one seed
therefore see the same split, the same data order and the same initial draws, whatever else
differs between them and whatever they are packed with.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from trainatlas.study.lazy import LazyModule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = LazyModule("numpy")  # planning a grid needs none of it


def stream_key(seed: int, stream: str) -> int:
    """Return the 63-bit key of `stream` under `seed`: leading bits of SHA-256 over both.

    The key is a valid seed for `numpy.random.default_rng` and `torch.Generator.manual_seed`.
    """
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream_numbers(seed: int, stream: str, count: int) -> NDArray[np.uint64]:
    """Return the first `count` numbers of a stream, 64 random bits each: SplitMix64 (Steele, Lea and Flood 2014) from its key.

    The n-th depends on seed, stream and n alone, so a longer run begins with the shorter one's numbers.
    """
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(
        stream_key(seed, stream)
    )
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
