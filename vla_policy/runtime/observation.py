"""From streams of images and states to one observation of one instant, or the reason why not.

Independent of ROS and of a clock: now_ns is an argument. A stream keeps its latest samples, so
that those of one instant can be combined although they arrive one by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from vla_policy.checkpoint.contract import Contract
from vla_policy.timing import FUTURE_TOLERANCE_NS
from vla_policy.types import Array, Observation, Reason

T = TypeVar("T")
KEEP_NS = 500_000_000  # age up to which samples are kept; the slowest stream must arrive within it
RESTART_NS = 1_000_000_000  # a stamp older than the last one by this: the sender's clock restarted


class SensorBuffer(Generic[T]):
    """The latest samples of one topic, in the order of their stamps.

    A stamp that does not advance is no new sample, so a frozen sender becomes stale.
    """

    def __init__(self, topic: str, max_age_ns: int) -> None:
        self.topic = topic
        self.max_age_ns = max_age_ns
        self._samples: deque[tuple[int, T]] = deque()

    def add(self, stamp_ns: int, value: T) -> bool:
        """Keep a sample; False if its stamp is not newer than the last one."""
        newest = self.newest_ns
        if newest is not None and stamp_ns <= newest:
            if stamp_ns > newest - RESTART_NS:
                return False
            self._samples.clear()
        self._samples.append((stamp_ns, value))
        while self._samples[0][0] < stamp_ns - KEEP_NS:
            self._samples.popleft()
        return True

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the last sample; None before the first."""
        return self._samples[-1][0] if self._samples else None

    def nearest(self, time_ns: int) -> tuple[int, T]:
        """(stamp, value) of the sample nearest to time_ns. Raises IndexError for an empty stream."""
        if not self._samples:
            raise IndexError(f"{self.topic}: no sample yet")
        return min(self._samples, key=lambda sample: abs(sample[0] - time_ns))

    def copy(self) -> SensorBuffer[T]:
        """The same samples, safe to read while the original is changed."""
        twin: SensorBuffer[T] = SensorBuffer(self.topic, self.max_age_ns)
        twin._samples.extend(self._samples)
        return twin

    def problem(self, now_ns: int) -> Reason | None:
        """Why the stream cannot be used at now_ns: never received, stale or from the future."""
        newest = self.newest_ns
        if newest is None:
            return Reason("missing", f"nothing has come on {self.topic} yet")
        age_ns = now_ns - newest
        if age_ns > self.max_age_ns:
            return Reason(
                "stale",
                f"{self.topic} is {age_ns / 1e9:.2f} s old, "
                f"at most {self.max_age_ns / 1e9:.2f} s is allowed",
            )
        if age_ns < -FUTURE_TOLERANCE_NS:
            return Reason(
                "future",
                f"{self.topic} is stamped {-age_ns / 1e9:.2f} s in the future; "
                "are the clocks in step?",
            )
        return None


@dataclass(frozen=True, slots=True)
class StateSource:
    """A stream of float64[len(names)] that gives the state entries in names."""

    names: tuple[str, ...]
    stream: SensorBuffer[Array]


def synchronize(
    now_ns: int,
    cameras: Mapping[str, SensorBuffer[Array]],
    states: tuple[StateSource, ...],
    *,
    state_names: tuple[str, ...],
    instruction: str,
    max_skew_ns: int,
) -> Observation | Reason:
    """The newest instant that every camera and state stream has reached, as an observation.

    Each stream contributes its sample nearest to that instant; obs_ns is the instant.
    max_skew_ns: greatest distance of a sample from it.
    Returns the first Reason against an observation, naming the topic.
    """
    streams = [*cameras.values(), *(source.stream for source in states)]
    for stream in streams:
        reason = stream.problem(now_ns)
        if reason is not None:
            return reason
    obs_ns = min(stream.newest_ns for stream in streams if stream.newest_ns is not None)
    for stream in streams:
        skew_ns = abs(stream.nearest(obs_ns)[0] - obs_ns)
        if skew_ns > max_skew_ns:
            return Reason(
                "skew",
                f"{stream.topic} is {skew_ns / 1e9:.3f} s apart from the other inputs, "
                f"at most {max_skew_ns / 1e9:.3f} s is allowed",
            )
    values = {
        name: value
        for source in states
        for name, value in zip(source.names, source.stream.nearest(obs_ns)[1], strict=True)
    }
    unknown = [name for name in state_names if name not in values]
    if unknown:
        return Reason("state", f"no input gives the state {', '.join(unknown)}")
    return Observation(
        images={name: stream.nearest(obs_ns)[1] for name, stream in cameras.items()},
        state=np.array([values[name] for name in state_names]),
        state_names=state_names,
        instruction=instruction,
        obs_ns=obs_ns,
    )


def blank_observation(contract: Contract) -> Observation:
    """Grey images and tools in the middle of the table: valid, and never used to move."""
    side = contract.image_px
    neutral = {"x": 0.3, "z": 0.2, "qw": 1.0, "gripper": 1.0}
    return Observation(
        images={name: np.full((side, side, 3), 127, np.uint8) for name in contract.camera_names},
        state=np.array([neutral.get(n.rpartition(".")[2], 0.0) for n in contract.state_names]),
        state_names=contract.state_names,
        instruction="pick up the red cube",
        obs_ns=1,
    )
