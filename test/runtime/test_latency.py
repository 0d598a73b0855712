"""A policy that is too slow for its chunks is said to be before the robot begins to hold."""

import numpy as np
import pytest

from vla_policy.runtime.inference import InferenceStatus
from vla_policy.runtime.latency import slow


def status(p99_s, chunks=50):
    latency = None if p99_s is None else np.array([0.01, p99_s, p99_s])
    return InferenceStatus(None, chunks, 0, False, latency, None, 0, {})


@pytest.mark.parametrize(("p99_s", "chunks"), [(None, 0), (0.5, 50), (0.9, 9)])
def test_nothing_is_said_of_what_is_fast_or_not_known(p99_s, chunks):
    assert slow(status(p99_s, chunks), 1.0) is None


def test_what_is_slow_is_said_with_its_numbers():
    assert slow(status(0.61), 1.0).startswith("an answer takes up to 0.61 s (p99) of the 1.00 s")
