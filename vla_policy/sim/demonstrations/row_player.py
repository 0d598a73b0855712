"""Drives the world like the control node: rows at 10 Hz, interpolated setpoints at 50 Hz."""

from __future__ import annotations

import numpy as np

from vla_policy.sim.demonstrations.expert import ExpertAction
from vla_policy.sim.tasks.judge import Judge, JudgeResult
from vla_policy.sim.world.world import World

STEPS_PER_ROW = 5


class Driver:
    """Executes one row after the other from the last command, and updates the judge."""

    def __init__(self, world: World, judge: Judge) -> None:
        state, arms = world.robot_state(), world.twin.arms
        self._world, self._judge = world, judge
        self._poses = [np.array(state.poses[arm.tool]) for arm in arms]
        self._grippers = [float(state.grippers[arm.gripper]) for arm in arms]
        self._speed = np.zeros(2)
        self.result: JudgeResult = judge.update(world.truth())

    def pursue(self, action: ExpertAction) -> JudgeResult:
        """Reach the poses and base velocity of action one row (0.1 s) later, in straight lines."""
        turns = [
            goal.pose[3:] * (1.0 if goal.pose[3:] @ start[3:] >= 0 else -1.0)
            for goal, start in zip(action.arms, self._poses, strict=True)
        ]
        for k in range(1, STEPS_PER_ROW + 1):
            self._send(action, turns, k / STEPS_PER_ROW)
            self._world.step()
            self.result = self._judge.update(self._world.truth())
        self._poses = [
            np.concatenate([goal.pose[:3], turn])
            for goal, turn in zip(action.arms, turns, strict=True)
        ]
        self._grippers = [float(goal.gripper) for goal in action.arms]
        self._speed = np.array(action.drive)
        return self.result

    def _send(self, action: ExpertAction, turns: list[np.ndarray], part: float) -> None:
        for index, (goal, turn) in enumerate(zip(action.arms, turns, strict=True)):
            start, begin = self._poses[index], self._grippers[index]
            # Rotations between rows are small, so the normalised mean is the midpoint.
            mixed = np.concatenate([start[:3] + (goal.pose[:3] - start[:3]) * part,
                                    start[3:] + (turn - start[3:]) * part])  # fmt: skip
            mixed[3:] /= np.linalg.norm(mixed[3:])
            self._world.command(mixed, begin + (goal.gripper - begin) * part, index)
        if self._world.twin.drives:
            vx, wz = self._speed + (np.array(action.drive) - self._speed) * part
            self._world.drive(vx, wz)
