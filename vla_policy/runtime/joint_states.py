"""Merges the robot's joints and grippers by name, from one or several publishers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.joint_units import from_wire
from vla_policy.types import Array


class JointStateMerger:
    """Latest position of each joint over all publishers.

    names: of the columns that add() returns: 'joint.<name>' in the order of the description, then
    each gripper's opening, 0 closed to 1 open.
    """

    def __init__(self, robot: Embodiment) -> None:
        self._robot = robot
        hands = [
            (g.names[0], robot.outputs[g.name].gripper_joint)
            for g in robot.actions
            if g.space == "gripper"
        ]
        self._hands = [(name, hand) for name, hand in hands if hand is not None]
        self._wanted = (*robot.joint_names, *(hand.name for _, hand in self._hands))
        self._max_age_ns = round(robot.joints.max_age_s * 1e9)
        joints = tuple(f"joint.{name}" for name in robot.joint_names)
        self.names = (*joints, *(name for name, _ in self._hands))
        self.clear()

    def clear(self) -> None:
        """Forget all positions, after the clock went back."""
        self._heard: dict[str, tuple[int, float]] = {}
        self._silent = set(self._robot.joints.topics)

    def add(
        self, topic: str, names: Sequence[str], positions: Sequence[float], stamp_ns: int
    ) -> tuple[int, Array] | None:
        """All values after one more message, and the oldest stamp among them.

        None before the first message of a topic. Raises ValueError if the message has no valid
        joint positions, or if a joint has no publisher; it lists those that have.
        """
        _require_joints(topic, names, positions)
        prefix = self._robot.joints.topics[topic]
        self._silent.discard(topic)
        for name, position in zip(names, positions, strict=True):
            self._heard[prefix + name] = (stamp_ns, position)
        oldest_ns = stamp_ns - self._max_age_ns
        missing = [
            n for n in self._wanted if n not in self._heard or self._heard[n][0] < oldest_ns
        ]
        if missing and self._silent:
            return None
        if missing:
            told = ", ".join(n for n, (ns, _) in self._heard.items() if ns >= oldest_ns)
            raise ValueError(
                f"{self._robot.joints.topic}: no joint {', '.join(missing)}; it has {told or 'none'}"
            )
        raw = np.array([self._heard[name][1] for name in self._wanted], dtype=np.float64)
        bad = [n for n, v in zip(self._wanted, raw, strict=True) if not np.isfinite(v)]
        if bad:
            raise ValueError(f"{topic}: the position of {', '.join(bad)} is not finite")
        count = len(self._robot.joint_names)
        joints = from_wire(self._robot.joints.wire, raw[:count])
        openings = [
            min(1.0, max(0.0, hand.opening(value)))
            for value, (_, hand) in zip(raw[count:], self._hands, strict=True)
        ]
        return min(self._heard[n][0] for n in self._wanted), np.append(joints, openings)


def _require_joints(topic: str, names: Sequence[str], positions: Sequence[float]) -> None:
    if len(names) != len(positions):
        raise ValueError(f"{topic}: got {len(positions)} positions for {len(names)} names")
    if len(set(names)) != len(names):
        raise ValueError(f"{topic}: a joint is named twice in {list(names)}")
