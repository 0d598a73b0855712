"""A recorded episode as a source of chunks: its actions again, through the same plan and guard.

Pure. action[k] of a set was commanded by the end of frame k, like row k of a chunk, reached at
its end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import GRIPPER, POSE, VELOCITY, Layout, layout_of
from vla_policy.geometry.quaternions import turn_between, turned
from vla_policy.safety.setpoint_limits import jump_between
from vla_policy.timing import NS_PER_S, s_from_ns
from vla_policy.types import ActionChunk, Array, readonly

ROWS_S = 0.8  # that a chunk reaches ahead
EVERY_S = 0.2  # between two chunks


@dataclass(frozen=True, slots=True)
class Replay:
    """rows: float64[n, d], one per step of the robot, columns of layout_of(robot).names.

    name: of the episode.
    """

    robot: Embodiment
    layout: Layout
    rows: Array
    name: str

    @property
    def seconds(self) -> float:
        """Its duration."""
        return len(self.rows) * s_from_ns(self.robot.step_ns)


def replay_of(
    actions: Array, names: tuple[str, ...], fps: float, robot: Embodiment, name: str
) -> Replay:
    """The episode with actions float[n, d] at fps as rows of robot.

    Raises ValueError with got and expected for columns of another robot, or values that are not finite.
    """
    layout = layout_of(robot)
    if tuple(names) != layout.names:
        raise ValueError(
            f"{name}: got the columns {', '.join(names)}, expected those of {robot.name}: {', '.join(layout.names)}"
        )
    actions = np.array(actions, dtype=np.float64)
    if len(actions) < 2 or not np.isfinite(actions).all():
        raise ValueError(f"{name}: got {len(actions)} actions, expected at least 2, all finite")
    for part in layout.of_kind(POSE):
        norms = np.linalg.norm(actions[:, part.rotation], axis=1, keepdims=True)
        if not (np.abs(norms - 1.0) <= 0.01).all():
            raise ValueError(
                f"{name}: got rotations of {part.group} that are none, expected norm 1"
            )
        actions[:, part.rotation] /= norms
    step_s = s_from_ns(robot.step_ns)
    count = max(1, int(np.floor(len(actions) / fps / step_s + 1e-9)))
    rows = [_at(actions, (k + 1) * step_s * fps - 1.0, layout) for k in range(count)]
    return Replay(robot, layout, readonly(np.array(rows)), name)


def too_far(replay: Replay, here: Array) -> str | None:
    """The robot's distance from the episode's start, as text; None if it may begin.

    here: float64[d].
    """
    words = jump_between(here, replay.rows[0], replay.layout)
    return None if words is None else f"{replay.name}: its first action is {words} from the robot"


def chunk_at(replay: Replay, start_ns: int, now_ns: int, sequence: int) -> ActionChunk | None:
    """The rest at now_ns of an episode that began at start_ns, at most one chunk; None at its end.

    The first one is entered like any plan; the following ones each continue the previous one.
    """
    step_ns = replay.robot.step_ns
    first = max(0, (now_ns - start_ns) // step_ns)
    rows = replay.rows[first : first + max(2, int(ROWS_S * NS_PER_S / step_ns))]
    if len(rows) == 0:
        return None
    obs_ns = start_ns + first * step_ns
    before = sequence - 1 if sequence > 0 else None
    names = replay.layout.names
    return ActionChunk(rows, names, obs_ns, step_ns, sequence, "", continues=before)


def _at(actions: Array, k: float, layout: Layout) -> Array:
    """The action between those of two frames; grippers and velocities are the current frame's."""
    k = min(max(k, 0.0), len(actions) - 1.0)
    low = int(np.floor(k + 1e-9))
    high, share = min(low + 1, len(actions) - 1), max(0.0, k - low)
    row: Array = (1.0 - share) * actions[low] + share * actions[high]
    for part in layout.of_kind(POSE):
        turn = turn_between(actions[low, part.rotation], actions[high, part.rotation])
        row[part.rotation] = turned(actions[low, part.rotation], share * turn)
    for part in layout.of_kind(GRIPPER, VELOCITY):
        row[part.columns] = actions[high if share > 1e-6 else low, part.columns]
    return row
