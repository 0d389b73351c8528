"""Many small cases in one test, each named where it fails: a test of its own costs more than they do."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def naming(*case: object) -> Iterator[None]:
    """Note on whatever fails inside which case it was."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"in the case {', '.join(map(repr, case))}")
        raise
