"""A robot without physics: it moves as commanded, at most twice as fast as its limits.

It replaces any embodiment, to test a configuration and a policy's connections, not a policy. It
has no inverse kinematics: commanded tools move, and the joints only indicate the motion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from vla_policy.embodiment import Embodiment, Workspace
from vla_policy.embodiment.layout import (
    GRIPPER,
    JOINTS,
    POSE,
    VELOCITY,
    ActionPart,
    Layout,
    layout_of,
)
from vla_policy.embodiment.spaces import BASE_TIMEOUT_NS
from vla_policy.geometry.quaternions import turn_between, turned
from vla_policy.types import Array

FASTER = 2.0  # than the embodiment's limits: controllers have some reserve
HOME_MARGIN = 0.2  # of a joint's range

Limit = TypeVar("Limit", float, Array, Workspace)


@dataclass(frozen=True, slots=True)
class Path:
    """A trajectory being followed. times_ns: int64[n] of the clock. positions: float64[n, j]."""

    times_ns: Array
    positions: Array


class MockRobot:
    """State of the robot and the goals of its controllers. Only advance() moves it."""

    def __init__(self, robot: Embodiment) -> None:
        self.robot, self.layout = robot, layout_of(robot)
        lower, upper = robot.joints.lower, robot.joints.upper
        margin = HOME_MARGIN * (upper - lower)
        self._home = np.clip(0.0, lower + margin, upper - margin)
        self.joints = self._home.copy()
        self.openings = {p.names[0]: 0.5 for p in self.layout.of_kind(GRIPPER)}
        self.poses = {tool: _home_pose(self.layout, tool) for tool in robot.poses}
        self._start = {tool: pose.copy() for tool, pose in self.poses.items()}
        self.base = np.zeros(3)  # x y yaw of a mobile base
        self._goals: dict[str, Array | Path] = {}
        self._velocities: dict[str, tuple[int, Array]] = {}

    def pursue(self, part: ActionPart, target: Array | Path) -> None:
        """Move to a target of the part's columns, or follow a path of its joints."""
        self._goals[part.group] = target

    def drive(self, part: ActionPart, velocity: Array, now_ns: int) -> None:
        """Keep a velocity of the part's axes for VELOCITY_TIMEOUT_NS."""
        self._velocities[part.group] = (now_ns, velocity)

    def advance(self, now_ns: int, dt_s: float) -> None:
        """Advance all parts to now_ns, dt_s after the last call."""
        for part in self.layout.parts:
            if part.kind == VELOCITY:
                self._roll(part, now_ns, dt_s)
                continue
            goal = self._goals.get(part.group)
            if goal is None:
                continue
            target = _on_path(goal, now_ns) if isinstance(goal, Path) else goal
            if part.kind == JOINTS:
                self._turn(part, target, dt_s)
            elif part.kind == GRIPPER:
                name = part.names[0]
                step = FASTER * _given(part.limits.gripper_speed_per_s, part) * dt_s
                way = float(target[0]) - self.openings[name]
                self.openings[name] += float(np.clip(way, -step, step))
            else:
                self._move(part, target, dt_s)
        self._show()

    def _turn(self, part: ActionPart, target: Array, dt_s: float) -> None:
        joints = list(part.joints)
        step = FASTER * _given(part.limits.joint_speed_per_s, part) * dt_s
        moved = self.joints[joints] + np.clip(target - self.joints[joints], -step, step)
        self.joints[joints] = np.clip(moved, part.lower, part.upper)

    def _move(self, part: ActionPart, target: Array, dt_s: float) -> None:
        pose, limits = self.poses[part.source], part.limits
        way, turn = target[:3] - pose[:3], turn_between(pose[3:], target[3:])
        shares = (
            _share(way, FASTER * _given(limits.linear_speed_m_s, part) * dt_s),
            _share(turn, FASTER * _given(limits.angular_speed_rad_s, part) * dt_s),
        )
        pose[:3] += shares[0] * way
        pose[3:] = turned(pose[3:], shares[1] * turn)

    def _roll(self, part: ActionPart, now_ns: int, dt_s: float) -> None:
        stamp_ns, velocity = self._velocities.get(part.group, (0, np.zeros(len(part.names))))
        if now_ns - stamp_ns > BASE_TIMEOUT_NS:
            return
        by_axis = {n.rpartition(".")[2]: v for n, v in zip(part.names, velocity, strict=True)}
        linear = np.array([by_axis.get(f"v{axis}", 0.0) for axis in "xyz"])
        angular = np.array([by_axis.get(f"w{axis}", 0.0) for axis in "xyz"])
        if part.source:
            pose = self.poses[part.source]
            pose[:3] += linear * dt_s
            pose[3:] = turned(pose[3:], angular * dt_s)
            return
        cosine, sine = np.cos(self.base[2]), np.sin(self.base[2])
        x, y = linear[0], linear[1]
        self.base += np.array([cosine * x - sine * y, sine * x + cosine * y, angular[2]]) * dt_s

    def _show(self) -> None:
        """Joints without a command of their own move a little with their tool, to show motion."""
        if self.layout.of_kind(JOINTS) or not self.poses:
            return
        moved = sum(float(np.sum(p[:3] - self._start[t][:3])) for t, p in self.poses.items())
        self.joints = np.clip(self._home + moved, self.robot.joints.lower, self.robot.joints.upper)


def picture(name: str, mock: MockRobot, time_ns: int, px: int) -> Array:
    """uint8[px, px, 3]: a colour per camera, a bar per joint, and new noise in each image."""
    shade = sum(name.encode()) % 97 + 60
    image = np.full((px, px, 3), (shade, 150 - shade // 2, 220 - shade), dtype=np.uint8)
    values = np.append(mock.joints, [*mock.openings.values(), *mock.base])
    width = max(1, px // len(values))
    for i, value in enumerate(values):
        height = int(np.clip(0.5 + value / 7.0, 0.02, 0.98) * px)
        image[px - height :, i * width : (i + 1) * width - 1] = (30, 30 + 20 * (i % 10), 200)
    rng = np.random.default_rng(time_ns)
    noise = rng.integers(-4, 5, image.shape, dtype=np.int16)
    noisy: Array = np.clip(image + noise, 0, 255).astype(np.uint8)
    return noisy


def _home_pose(layout: Layout, tool: str) -> Array:
    parts = [p for p in layout.of_kind(POSE, VELOCITY) if p.source == tool]
    middle = np.array([0.4, 0.0, 0.3])
    if parts:
        box = _given(parts[0].limits.workspace, parts[0])
        middle = 0.5 * (box.lower + box.upper)
    return np.array([*middle, 0.0, 1.0, 0.0, 0.0])  # the tool points down


def _given(limit: Limit | None, part: ActionPart) -> Limit:
    """A limit that a robot file has for each part of this kind.

    Raises ValueError if it is missing.
    """
    if limit is None:
        raise ValueError(f"limits.{part.group}: got none that a {part.kind} part needs")
    return limit


def _on_path(path: Path, now_ns: int) -> Array:
    return np.array([np.interp(now_ns, path.times_ns, column) for column in path.positions.T])


def _share(way: Array, step: float) -> float:
    length = float(np.linalg.norm(way))
    return 1.0 if length <= step else step / length
