"""Driving the world as the control node does: rows at 10 Hz, interpolated setpoints at 50 Hz."""

from __future__ import annotations

import numpy as np

from vla_policy.sim.judge import Judge, JudgeResult
from vla_policy.sim.world import World

STEPS_PER_ROW = 5


class Driver:
    """Pursues one row after the other from the last command sent, and keeps the judge informed."""

    def __init__(self, world: World, judge: Judge) -> None:
        state = world.robot_state()
        self._world, self._judge = world, judge
        self._pose, self._gripper = np.array(state.ee_pose), float(state.gripper)
        self.result: JudgeResult = judge.update(world.truth())

    def pursue(self, pose: np.ndarray, gripper: float) -> JudgeResult:
        """Reach pose float64[7] and gripper 0..1 one row (0.1 s) later, on a straight line."""
        start, begin = self._pose, self._gripper
        turn = pose[3:] * (1.0 if pose[3:] @ start[3:] >= 0 else -1.0)
        for k in range(1, STEPS_PER_ROW + 1):
            part = k / STEPS_PER_ROW
            # Rotations between rows are small, so the normalised mean is the rotation between.
            mixed = np.concatenate([start[:3] + (pose[:3] - start[:3]) * part,
                                    start[3:] + (turn - start[3:]) * part])  # fmt: skip
            mixed[3:] /= np.linalg.norm(mixed[3:])
            self._world.command(mixed, begin + (gripper - begin) * part)
            self._world.step()
            self.result = self._judge.update(self._world.truth())
        self._pose, self._gripper = np.concatenate([pose[:3], turn]), float(gripper)
        return self.result
