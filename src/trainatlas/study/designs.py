"""Where samples put their points: designs of draws in the unit cube, and fractions of a grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from trainatlas.study.lazy import LazyModule
from trainatlas.study.samples import Design
from trainatlas.study.streams import stream_key

if TYPE_CHECKING:
    from scipy.stats import qmc
    from scipy.stats.qmc import QMCEngine
else:
    qmc = LazyModule("scipy.stats.qmc")

Vector = tuple[int, ...]

_PATIENCE = 20_000  # sets of columns that are tried before a larger code is looked for


def spread_points(
    design: Design, draws: int, dimensions: Sequence[str], seed: int, stream: str
) -> Iterator[dict[str, float]]:
    """Yield the points of a design that spreads them evenly, each as its coordinates in [0, 1) by dimension.

    A Sobol sequence can be made longer, a Latin hypercube cannot: with other `draws` it is another one.

    Parameters
    ----------
    design
        "sobol": scrambled (Sobol' 1967, Owen 1998); "latin_hypercube" (McKay, Beckman and Conover 1979).
    stream
        Keys the draws, together with `seed`.
    """
    key = stream_key(seed, f"{stream}/{design}")
    engine: QMCEngine
    if design == "sobol":
        engine = qmc.Sobol(len(dimensions), rng=key)
        points = engine.random_base2(math.ceil(math.log2(draws)))[:draws]
    else:
        engine = qmc.LatinHypercube(len(dimensions), rng=key)
        points = engine.random(draws)
    for point in points.tolist():
        yield dict(zip(dimensions, point, strict=True))


@lru_cache(maxsize=16)
def fraction(sizes: tuple[int, ...], resolution: int) -> list[Vector]:
    """Return a regular fraction of a full factorial design: an orthogonal array of strength `resolution` - 1 (Rao 1947).

    Factors with a prime number p of levels, or a power of it, make a linear code over the integers modulo p, a
    factor of p^k levels as k of p (Bose 1947; Wu and Hamada 2009, chapters 5 to 7); other numbers are divided into their
    primes. The fractions by different primes are crossed. The search takes the smallest code it finds, the full design
    where there is none smaller.

    Parameters
    ----------
    sizes
        Levels of each factor, 1 or more.
    resolution
        3: main effects are clear of each other; 4: of two-way interactions too; 5: these are clear of each other.

    Returns
    -------
    list
        Level of every factor, counted from 0, run by run, in ascending order. Any `resolution` - 1 factors show every
        combination of their levels equally often.
    """
    strength = resolution - 1
    primes = sorted({prime for size in sizes for prime in _primes(size)})
    codes = [_code([_primes(size).count(prime) for size in sizes], prime, strength) for prime in primes]
    runs = []
    for words in itertools.product(*codes):
        levels = [0] * len(sizes)
        for prime, word in zip(primes, words, strict=True):
            for i, digits in enumerate(word):
                for digit in digits:
                    levels[i] = levels[i] * prime + digit
        runs.append(tuple(levels))
    return sorted(runs)


def _primes(number: int) -> list[int]:
    """Return the prime factors of a number, each as often as it divides it."""
    found = []
    divisor = 2
    while number > 1:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return found


def _code(digits: Sequence[int], prime: int, strength: int) -> list[tuple[Vector, ...]]:
    """Return the words of the smallest linear code modulo `prime` that is found, each as the digits of every factor.

    Parameters
    ----------
    digits
        How many digits each factor has.
    """
    active = [i for i, number in enumerate(digits) if number]
    bound = _fewest_runs([prime**number for number in digits], strength)
    for dimension in range(sum(digits) + 1):
        if prime**dimension < bound:
            continue
        columns = _columns([digits[i] for i in active], prime, strength, dimension)
        if columns is not None:
            break
    assert columns is not None  # the unit vectors will do where there are as many dimensions as digits
    words = []
    for message in itertools.product(range(prime), repeat=dimension):
        word: list[Vector] = [()] * len(digits)
        for i, own in zip(active, columns, strict=True):
            word[i] = tuple(sum(m * c for m, c in zip(message, column, strict=True)) % prime for column in own)
        words.append(tuple(word))
    return words


def _fewest_runs(sizes: Sequence[int], strength: int) -> int:
    """Return Rao's bound (1947): fewer runs than this no orthogonal array of the strength has."""
    if strength % 2:
        largest, *others = sorted(sizes, reverse=True)
        return largest * _fewest_runs(others, strength - 1)
    sets = (chosen for number in range(strength // 2 + 1) for chosen in itertools.combinations(sizes, number))
    return sum(math.prod(size - 1 for size in chosen) for chosen in sets)


def _columns(digits: Sequence[int], prime: int, strength: int, dimension: int) -> list[list[Vector]] | None:
    """Return for each factor its columns of a code's generator, such that those of any `strength` factors are independent.

    Depth first, the first vectors that fit first; None where that comes to nothing, or to too much.
    """
    vectors = [v for v in itertools.product(range(prime), repeat=dimension) if any(v)]
    vectors = [v for v in vectors if next(x for x in v if x) == 1]  # one of each line
    vectors.sort(key=lambda v: (sum(map(bool, v)), v[::-1]))
    chosen: list[list[Vector]] = []

    def fits(own: list[Vector]) -> bool:
        most = min(strength, len(chosen) + 1) - 1
        return all(
            _independent([*own, *itertools.chain(*others)], prime) for others in itertools.combinations(chosen, most)
        )

    tried = 0

    def place(i: int, begin: int) -> bool:
        nonlocal tried
        if i == len(digits):
            return True
        sets = enumerate(itertools.combinations(vectors, digits[i]))
        for at, own in itertools.islice(sets, begin, None):
            tried += 1
            if tried > _PATIENCE:
                return False
            if fits(list(own)):
                chosen.append(list(own))
                alike = i + 1 < len(digits) and digits[i + 1] == digits[i]  # their order makes no difference
                if place(i + 1, at + 1 if alike else 0):
                    return True
                chosen.pop()
        return False

    return chosen if place(0, 0) else None


def _independent(vectors: list[Vector], prime: int) -> bool:
    """Return whether vectors modulo a prime are linearly independent, by elimination."""
    rows = [list(vector) for vector in vectors]
    rank = 0
    for column in range(len(rows[0]) if rows else 0):
        pivot = next((i for i in range(rank, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        inverse = pow(rows[rank][column], -1, prime)
        rows[rank] = [value * inverse % prime for value in rows[rank]]
        for i in range(len(rows)):
            if i != rank and rows[i][column]:
                times = rows[i][column]
                rows[i] = [(a - times * b) % prime for a, b in zip(rows[i], rows[rank], strict=True)]
        rank += 1
    return rank == len(rows)
