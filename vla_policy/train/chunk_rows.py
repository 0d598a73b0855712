"""The rows of a chunk from an episode, at the policy's rate and in its columns.

The command of frame m of an episode is reached at its end, (m + 1) / fps; row j of a chunk is
reached j + 1 steps after the observation. At equal rates row j of the chunk at frame k is
therefore frame k + j; else it lies between frames, with the rules of execution/resampling.py:
positions on a smooth curve, rotations on the sphere, a gripper at its current value.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import GRIPPER, VELOCITY, Layout, layout_of
from vla_policy.execution.from_absolute import Anchors, written
from vla_policy.execution.spline import curve, evaluate
from vla_policy.types import Array

SAME = 1e-6  # of a frame
MARGIN = 3  # frames beside a segment that its curve depends on


@dataclass(frozen=True)
class ChunkRows:
    """action: float64[n, d] of a whole set, in executed columns; written: as policies write it.

    sent: float64[n, d], the commands that went out, from which steps are counted.
    state: float64[n, s]. teaches: bool[n], frames that may be learned. steps_per_row: frames of
    the set per row.
    Raises ValueError for actions as policies write them at another rate: steps cannot be resampled.
    """

    action: Array
    sent: Array
    state: Array
    state_names: tuple[str, ...]
    teaches: Array
    robot: Embodiment
    rows: int
    steps_per_row: float
    written: bool
    _layout: Layout = field(init=False)
    _measured: Array = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_layout", layout_of(self.robot))
        names = self._layout.names
        where = [self.state_names.index(n) if n in self.state_names else -1 for n in names]
        object.__setattr__(self, "_measured", np.array(where))
        if self.written and abs(self.steps_per_row - 1.0) > SAME:
            raise ValueError(
                f"the set has {self.steps_per_row:g} frames in a row of the policy and steps as actions, expected one "
                "frame: steps cannot be resampled"
            )

    def of(self, frame: int, begin: int, end: int) -> tuple[Array, Array, Array]:
        """(float64[rows, a] in action_names, bool[rows] learned, bool[rows] after the end).

        frame: of the observation. begin, end: of its episode. After the end the robot does not move.
        """
        at = self._at(frame)
        behind = at > end - 1 + SAME
        low, high = np.floor(at + SAME).astype(int), np.ceil(at - SAME).astype(int)
        before = (
            low < begin
        )  # in a set slower than the policy the arm's previous position is unknown
        inside = ~(behind | before)
        valid = inside & self.teaches[np.where(inside, low, begin)]
        valid &= self.teaches[np.where(inside, high, begin)]
        rows = self._sampled(np.clip(at, begin, end - 1), begin, end)
        return self._as_written(self._resting(rows, behind), frame, begin), valid, behind

    def first_row_teaches(self, frames: Array, begins: Array, ends: Array) -> Array:
        """bool[n]: whether row 0 of the chunks at frames is in their episode and may be learned."""
        at = frames + self.steps_per_row - 1.0
        low, high = np.floor(at + SAME).astype(int), np.ceil(at - SAME).astype(int)
        inside = (low >= begins) & (high < ends)
        teaches: Array = inside & self.teaches[np.where(inside, low, 0)]
        teaches &= self.teaches[np.where(inside, high, 0)]
        return teaches

    def marked(self, marks: Array, frame: int, end: int) -> Array:
        """bool[rows]: marks bool[n] at each row's frame, inside the episode."""
        high = np.ceil(self._at(frame) - SAME).astype(int)
        found: Array = marks[np.minimum(high, end - 1)] & (high < end)
        return found

    def _at(self, frame: int) -> Array:
        """float64[rows]: the frame at whose end each row is reached."""
        ahead: Array = frame + (np.arange(self.rows) + 1) * self.steps_per_row - 1.0
        return ahead

    def _sampled(self, at: Array, begin: int, end: int) -> Array:
        nearest = np.round(at).astype(int)
        if np.abs(at - nearest).max() <= SAME:
            exact: Array = self.action[nearest]
            return exact
        low = max(begin, int(np.floor(at[0])) - MARGIN)
        high = min(end, int(np.ceil(at[-1])) + MARGIN + 1)
        frames = self.action[low:high]
        line = curve(frames[0], frames, self._layout)
        rows = evaluate(line, at - low + 1.0, self._layout)[0]
        pursued = np.ceil(at - SAME).astype(int)
        for part in self._layout.of_kind(GRIPPER):
            rows[:, part.columns] = self.action[pursued, part.columns]
        return rows

    def _resting(self, rows: Array, behind: Array) -> Array:
        """rows that hold positions after the end, with zero velocities there."""
        if not behind.any():
            return rows
        rows = np.array(rows)
        if not self.written:
            for part in self._layout.of_kind(VELOCITY):
                rows[behind, part.columns] = 0.0
            return rows
        for group in self.robot.actions:
            if group.space in ("joint_delta", "ee_delta") or "twist" in group.space:
                rows[behind, self.robot.columns(group)] = _no_step(
                    len(group.names), group.rotation
                )
        return rows

    def _as_written(self, rows: Array, frame: int, begin: int) -> Array:
        if self.written:
            return rows
        measured = np.where(self._measured >= 0, self.state[frame][self._measured], np.nan)
        previous = self.sent[frame - 1] if frame > begin else measured
        return written(rows, self.robot, Anchors(measured, previous))


def _no_step(width: int, rotation: str | None) -> Array:
    """float64[width]: no motion and no rotation, in the given form of rotations."""
    still = np.zeros(width)
    if rotation == "quaternion_xyzw":
        still[-1] = 1.0
    elif rotation == "r6d":
        still[3], still[7] = 1.0, 1.0
    return still
