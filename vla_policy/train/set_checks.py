"""Early refusal of data that must not be trained on, naming set, episode and frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, layout_of
from vla_policy.embodiment.spaces import JOINT_PREFIX, TOOL_POSE
from vla_policy.train.set_numbers import SetNumbers
from vla_policy.types import Array

SLACK = 0.1  # of a joint's range: a set in degrees is far outside, a pushed joint is not
OPENING_SLACK = 0.1  # a gripper measured by its motor leaves 0 .. 1 slightly
UNIT = 0.01  # of the length of a quaternion
TIME_SLACK = 0.25  # of a frame


@dataclass(frozen=True, slots=True)
class FrameLocator:
    """Names the place of a frame in a set, for messages."""

    label: str
    numbers: SetNumbers
    frames: Array | None = None

    def among(self, frames: Array) -> FrameLocator:
        """The same for indices into a list of frames, int64[m]."""
        return FrameLocator(self.label, self.numbers, frames)

    def of(self, frame: int) -> str:
        """'set, episode 3, frame 17'."""
        frame = frame if self.frames is None else int(self.frames[frame])
        episode = int(np.searchsorted(self.numbers.first, frame, "right")) - 1
        return f"{self.label}, episode {episode}, frame {frame - int(self.numbers.first[episode])}"


def check_times(places: FrameLocator, fps: float, frames: Array) -> None:
    """Frame k must be at k / fps. frames: those to check. Raises ValueError."""
    numbers = places.numbers
    place = np.arange(len(numbers)) - np.repeat(numbers.first, numbers.length)
    off = np.abs(numbers.seconds - place / fps)
    bad = frames[~(off[frames] <= TIME_SLACK / fps)]
    if len(bad):
        frame = int(bad[0])
        raise ValueError(
            f"{places.of(frame)}: got the time {numbers.seconds[frame]:.4f} s, expected "
            f"{place[frame] / fps:.4f} s at {fps:g} frames per second"
        )


def check_state(
    places: FrameLocator, state: Array, frames: Array, names: tuple[str, ...], robot: Embodiment
) -> None:
    """Finite, joints and grippers in their ranges. state: float64[n, s]. frames: those to check.

    Raises ValueError.
    """
    state, places = state[frames], places.among(frames)
    _check_finite(places, "state", state, names)
    joints = robot.joints
    ranges = {
        f"{JOINT_PREFIX}{name}": (float(low), float(high), joints.unit)
        for name, low, high in zip(joints.names, joints.lower, joints.upper, strict=True)
    }
    for column, name in enumerate(names):
        if name in ranges:
            low, high, unit = ranges[name]
            _check_range(places, f"state {name}", state[:, column], low, high, SLACK, unit)
        elif name.rpartition(".")[2] == "gripper":
            _check_range(
                places,
                f"state {name}",
                state[:, column],
                0.0,
                1.0,
                OPENING_SLACK,
                "of its opening",
            )
    for side in [n.removesuffix(TOOL_POSE[0]) for n in names if n.endswith(TOOL_POSE[0])]:
        rotation = [side + n for n in TOOL_POSE[3:]]
        if set(rotation) <= set(names):
            _check_unit(places, f"state {side}ee", state[:, [names.index(n) for n in rotation]])


def check_action(
    places: FrameLocator, action: Array, frames: Array, robot: Embodiment, *, written: bool
) -> None:
    """The same for commands, float64[n, d] as executed; written: as policies write, only finite.

    Raises ValueError.
    """
    action, places = action[frames], places.among(frames)
    layout = layout_of(robot)
    names = robot.action_names if written else layout.names
    _check_finite(places, "action", action, names)
    if written:
        return
    for part in layout.parts:
        values = action[:, part.columns]
        if part.kind in (JOINTS, GRIPPER):
            lower, upper = part.range
            unit = robot.joints.unit if part.kind == JOINTS else "of its opening"
            for k, name in enumerate(part.names):
                slack = SLACK if part.kind == JOINTS else OPENING_SLACK
                _check_range(
                    places,
                    f"action {name}",
                    values[:, k],
                    float(lower[k]),
                    float(upper[k]),
                    slack,
                    unit,
                )
        elif part.kind == POSE:
            _check_unit(places, f"action {part.group}", action[:, part.rotation])


def _check_finite(places: FrameLocator, what: str, values: Array, names: tuple[str, ...]) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        frame, column = (int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"{places.of(frame)}: {what} {names[column]}: got {values[frame, column]}, expected a finite number"
        )


def _check_range(
    places: FrameLocator,
    what: str,
    values: Array,
    low: float,
    high: float,
    slack: float,
    unit: str,
) -> None:
    room = slack * (high - low)
    bad = np.flatnonzero(~((values >= low - room) & (values <= high + room)))
    if len(bad):
        frame = int(bad[0])
        raise ValueError(
            f"{places.of(frame)}: {what}: got {values[frame]:g}, expected {low:g} to {high:g} {unit} "
            f"({len(bad)} of {len(values)} frames are outside: another unit or robot?)"
        )


def _check_unit(places: FrameLocator, what: str, quaternions: Array) -> None:
    length = np.linalg.norm(quaternions, axis=1)
    bad = np.flatnonzero(~(np.abs(length - 1.0) <= UNIT))
    if len(bad):
        frame = int(bad[0])
        raise ValueError(
            f"{places.of(frame)}: {what}: got a quaternion of length {length[frame]:g}, expected 1"
        )
