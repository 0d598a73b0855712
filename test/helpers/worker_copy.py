"""The data of a loader's worker; the only unpickling in the tests, of bytes just pickled."""

import pickle
from typing import TypeVar

T = TypeVar("T")


def as_a_worker_gets(value: T) -> T:
    """A copy of value, as multiprocessing passes it to another process."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301
