"""Whether a task is complete, from physics alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vla_policy.sim.scenes.scene import PAD_RADIUS_M, TRAY_HALF_M, Scene, turn_matrix

if TYPE_CHECKING:
    from vla_policy.sim.tasks.tasks import Task
    from vla_policy.sim.world.ground_truth import Truth

LIFTED_M = 0.05
NEVER_LIFTED_M = 0.015
HELD_S = 0.3
TOUCHED_S = 0.2
CLOSED = 0.2  # at most, of the opening
TIP_M = 0.018  # closed fingers reach that far below the tool
TOUCH_M = 0.010  # of their tips from the top of a thing
_ASIDE_M = 0.012
REST_M_S = 0.03
_MOVED_M = 0.02
_NEAR_M = 0.035


@dataclass(frozen=True, slots=True)
class JudgeResult:
    """success: reached now.  ever_success: reached since the start.  detail: what moved, as text."""

    success: bool
    ever_success: bool
    detail: str


class Judge:
    """Follows one task from the truth at its start; feed it every control step."""

    def __init__(self, task: Task, truth: Truth) -> None:
        self._task = task
        self._start_xyz = truth.room_xyz
        self._rise = np.zeros(len(truth.room_xyz))
        self._held_since: dict[int, int] = {}
        self._touched_since: int | None = None
        self._lifted: list[int] = []
        self._ever = False

    @property
    def start_xyz(self) -> np.ndarray:
        """float64[n, 3] start positions of the objects, room frame."""
        return self._start_xyz

    @property
    def lifted(self) -> tuple[int, ...]:
        """Objects that were lifted and held so far, in that order."""
        return tuple(self._lifted)

    def update(self, truth: Truth) -> JudgeResult:
        """Update with the current ground truth and return the verdict."""
        rise = truth.room_xyz[:, 2] - self._start_xyz[:, 2]
        self._rise = np.maximum(self._rise, rise)
        for index in range(len(rise)):
            self._follow(index, truth, rise[index])
        self._touched_since = self._touches(truth)
        success = bool(self._success(truth))
        self._ever = self._ever or success
        return JudgeResult(success, self._ever, self._describe(truth))

    def _follow(self, index: int, truth: Truth, rise: float) -> None:
        carried = any(
            tool.held[index]
            or (
                tool.touched[index]
                and np.linalg.norm(truth.object_xyz[index] - tool.xyz) < _NEAR_M
            )
            for tool in truth.tools
        )
        if not (rise >= LIFTED_M and carried):
            self._held_since.pop(index, None)
            return
        since = self._held_since.setdefault(index, truth.time_ns)
        if truth.time_ns - since >= HELD_S * 1e9 and index not in self._lifted:
            self._lifted.append(index)

    def _touches(self, truth: Truth) -> int | None:
        """Since when closed fingers stand on the target of a touch, which stayed where it was."""
        target = self._task.target
        moved = np.linalg.norm(truth.room_xyz[target] - self._start_xyz[target])
        if self._task.family != "touch" or moved > _MOVED_M:
            return None
        top = truth.object_xyz[target] + [0, 0, truth.scene.objects[target].half_m + TIP_M]
        on = any(
            tool.gripper < CLOSED
            and np.linalg.norm(tool.xyz[:2] - top[:2]) < _ASIDE_M
            and tool.xyz[2] - top[2] < TOUCH_M
            for tool in truth.tools
        )
        if not on:
            return None
        return truth.time_ns if self._touched_since is None else self._touched_since

    def _success(self, truth: Truth) -> bool:
        target = self._task.target
        if self._task.family == "touch":
            since = self._touched_since
            return since is not None and truth.time_ns - since >= TOUCHED_S * 1e9
        if self._task.family == "pick":
            since = self._held_since.get(target)
            return since is not None and truth.time_ns - since >= HELD_S * 1e9
        destination = self._task.destination
        if destination is None or not rests_in(truth, target, destination):
            return False
        return self._task.family == "put" or bool(self._rise[target] <= NEVER_LIFTED_M)

    def _describe(self, truth: Truth) -> str:
        scene, said = truth.scene, []
        for index, item in enumerate(scene.objects):
            name = item.name
            moved = np.linalg.norm(truth.room_xyz[index] - self._start_xyz[index])
            if index in self._held_since:
                said.append(f"lifted {name}")
            elif rests_in(truth, index, "tray"):
                said.append(f"{name} is in the tray")
            elif moved > _MOVED_M and rests_in(truth, index, "pad"):
                said.append(f"{name} is on the pad")
            elif moved > _MOVED_M:
                said.append(f"moved {name}")
        return ", ".join(said) or "nothing moved"


def rests_in(truth: Truth, index: int, destination: str) -> bool:
    """Whether an object is at rest and released inside the tray's rim or on the pad."""
    if truth.held[index] or truth.object_speed[index] > REST_M_S:
        return False
    return inside(truth.scene, truth.object_xyz[index], index, destination)


def inside(scene: Scene, xyz: np.ndarray, index: int, destination: str) -> bool:
    """Whether an object at xyz float64[3] is inside the tray's rim or on the pad."""
    offset = xyz - scene.destination_xyz(destination)
    if offset[2] > scene.objects[index].half_m + 0.012:
        return False
    if destination == "tray":
        along = offset[:2]
        if scene.turned_rad:
            along = turn_matrix(-scene.turned_rad) @ along
        return bool(np.abs(along).max() <= TRAY_HALF_M - 0.004)
    return bool(np.linalg.norm(offset[:2]) <= PAD_RADIUS_M)
