"""The data of a loader's worker; the only unpickling in the tests, of bytes just pickled."""

import pickle
from collections.abc import Iterable
from typing import TypeVar

from vla_policy.data.lerobot.reader import DataSet

T = TypeVar("T")


def as_a_worker_gets(value: T) -> T:
    """A copy of value, as multiprocessing passes it to another process."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301


def image_means(data: DataSet, indices: Iterable[int]) -> list[float]:
    """What a worker tells of frames: the mean of an image. Here, where a spawned process finds it."""
    return [float(data.frame(i).images["top"].mean()) for i in indices]
