"""All numbers of a data set as arrays over its frames; the images stay on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vla_policy.types import Array

NOT_SAID = -1  # control source of a frame in a set without that column


@dataclass(frozen=True, slots=True)
class SetNumbers:
    """Over the n frames of a set, episode after episode.

    first, length: int64[e], of each episode. state: float32[n, s]. action: float32[n, d]. seconds:
    float64[n] since the start of the episode. valid: bool[n]. source: int8[n], index of
    CONTROL_SOURCES or NOT_SAID. correction: bool[n]. finished: bool[n], marked as after the goal
    was reached. proposed: float32[n, d], what the plan asked for before the guard; NaN where it
    asked for nothing or the guard held the robot; None: the set does not have it.
    """

    first: Array
    length: Array
    state: Array
    action: Array
    seconds: Array
    valid: Array
    source: Array
    correction: Array
    finished: Array
    proposed: Array | None = None

    def __len__(self) -> int:
        return len(self.state)


class SetSource(Protocol):
    """Common interface of the kinds of data sets. Pickles into workers.

    label: for messages. robot_name: '' if the set names none. own: recorded by this package, so
    its columns are those that the robot executes. robot_yaml: the robot file at that time; '' if
    missing.
    """

    label: str
    robot_name: str
    fps: float
    own: bool
    robot_yaml: str
    cameras: tuple[str, ...]
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    numbers: SetNumbers

    def image(self, episode: int, number: int, camera: str) -> Array:
        """uint8[h, w, 3] RGB of a frame. Raises ValueError naming file, episode and frame."""
        ...

    def sentences(self, episode: int, number: int) -> Sequence[str]:
        """The instruction of a frame, and rephrasings of it; none if the set has none."""
        ...

    def success(self, episode: int) -> bool | None:
        """Whether the episode reached its goal; None if unknown."""
        ...

    def identity(self, episode: int) -> str:
        """An identifier of an episode that stays when others are removed, if the set has one."""
        ...
