"""Random numbers that depend on what they are for, never on who else draws.

Every draw in the project comes from a generator of its own, keyed by a seed and the name of a
stream ("split", "order/3", "init/hidden.0.linear.weight" ...). Two trials with one seed
therefore see the same split, the same data order and the same initial draws, whatever else
differs between them and whatever they are packed with.
"""

from __future__ import annotations

import hashlib


def stream_key(seed: int, stream: str) -> int:
    """Return the 63-bit key of `stream` under `seed`: leading bits of SHA-256 over both.

    The key is a valid seed for `numpy.random.default_rng` and `torch.Generator.manual_seed`.
    """
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
