"""What a loader's worker process is handed: the one place of the tests that unpickles, and only bytes it has just made."""

import pickle
from typing import TypeVar

T = TypeVar("T")


def as_a_worker_gets(value: T) -> T:
    """A copy of value, as multiprocessing hands it to another process."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301
