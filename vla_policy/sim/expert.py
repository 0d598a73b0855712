"""A scripted demonstrator: looks at the truth, says where the tool should be 0.1 s later.

It has no memory and no timers: what to do follows from where things are, so that a policy
without memory can imitate it. Its heights form a funnel: the nearer above the goal, the lower.
A push keeps the object between the fingers and slides it along the table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.sim.judge import inside
from vla_policy.sim.poses import grasp_height, opening_around
from vla_policy.sim.tasks import Task
from vla_policy.sim.world import TOP_DOWN_XYZW, Truth

MAX_STEP_M = 0.035
HOVER_M = 0.10  # tool height above the table from which it comes down on an object
CARRY_M = 0.12
LIFT_M = 0.15
RETREAT_M = 0.13
_ALIGNED_M = 0.006
_AT_M = 0.007
_SLOPE = 5.0  # funnel: metres up per metre aside
_GRASPED_OPENING = 0.07  # still closed on the object: at most this much wider than it
_RELEASE_ABOVE_M = 0.004


@dataclass(frozen=True, slots=True)
class ExpertAction:
    """pose: float64[7] tool target in base_link at most MAX_STEP_M away; gripper 0..1.

    terminate: the task is done and the arm is out of the way.
    """

    pose: np.ndarray
    gripper: float
    terminate: bool = False


def expert_action(task: Task, truth: Truth) -> ExpertAction:
    """The next target for task, from the truth now."""
    item = truth.scene.objects[task.target]
    centre = truth.object_xyz[task.target]
    low = grasp_height(item.half_m)
    if task.destination is not None and _delivered(task, truth, item.half_m):
        return _retreat(truth)
    if not _grasped(truth, centre, item.half_m):
        return _reach(truth, centre, max(low, centre[2]))
    if task.family == "pick":
        goal = np.array([*truth.tool_xyz[:2], LIFT_M])
        return _move(truth, goal, 0.0, terminate=truth.tool_xyz[2] > LIFT_M - 0.02)
    place = truth.scene.destination_xyz(task.destination)[:2]
    if task.family == "push":
        return _slide(truth, centre, place, low)
    floor = 0.002 if task.destination == "tray" else 0.0
    return _carry(truth, centre, place, low + floor + _RELEASE_ABOVE_M)


def _grasped(truth: Truth, centre: np.ndarray, half_m: float) -> bool:
    between = np.abs(centre - truth.tool_xyz)
    closed = truth.gripper < opening_around(half_m) + _GRASPED_OPENING
    return bool(closed and (between < [0.014, 0.012, 0.02]).all())


def _delivered(task: Task, truth: Truth, half_m: float) -> bool:
    """The object lies where it should and the fingers no longer hold it."""
    opened = truth.gripper > opening_around(half_m) + _GRASPED_OPENING
    away = np.linalg.norm(truth.object_xyz[task.target] - truth.tool_xyz) > 0.03
    lies = inside(truth.scene, truth.object_xyz[task.target], task.target, task.destination)
    return bool(lies and (opened or away))


def _reach(truth: Truth, centre: np.ndarray, low: float) -> ExpertAction:
    """Come down around the object in a funnel, then close."""
    tool = truth.tool_xyz
    aside = float(np.linalg.norm(centre[:2] - tool[:2]))
    height = low + np.clip((aside - _ALIGNED_M) * _SLOPE, 0.0, HOVER_M - low)
    if aside < _AT_M and tool[2] < low + 0.006:
        return _move(truth, np.array([*centre[:2], low]), 0.0)
    goal = np.array([*centre[:2], height])
    if tool[2] < height - 0.02:  # beside something: up before across
        goal[:2] = tool[:2]
    return _move(truth, goal, 1.0)


def _carry(truth: Truth, centre: np.ndarray, place: np.ndarray, low: float) -> ExpertAction:
    """Up, across, down in a funnel over the place, then open."""
    tool = truth.tool_xyz
    aside = float(np.linalg.norm(place - centre[:2]))
    height = low + np.clip((aside - 0.012) * _SLOPE, 0.0, CARRY_M - low)
    if aside < 0.014 and tool[2] < low + 0.006:
        return _move(truth, tool, 1.0)
    goal = np.array([*(tool[:2] + place - centre[:2]), height])
    if tool[2] < min(height, 0.085) - 0.01:
        goal[:2] = tool[:2]
    return _move(truth, goal, 0.0)


def _slide(truth: Truth, centre: np.ndarray, place: np.ndarray, low: float) -> ExpertAction:
    """Along the table to the place, then open."""
    tool = truth.tool_xyz
    if np.linalg.norm(place - centre[:2]) < 0.012:
        return _move(truth, np.array([*tool[:2], low]), 1.0)
    return _move(truth, np.array([*(tool[:2] + place - centre[:2]), low]), 0.0)


def _retreat(truth: Truth) -> ExpertAction:
    """Open fully, go straight up, and say that it is done."""
    tool = truth.tool_xyz
    goal = np.array([*tool[:2], RETREAT_M if truth.gripper > 0.85 else tool[2]])
    return _move(truth, goal, 1.0, terminate=tool[2] > RETREAT_M - 0.03)


def _move(truth: Truth, goal: np.ndarray, gripper: float, terminate: bool = False) -> ExpertAction:
    step = goal - truth.tool_xyz
    step *= min(1.0, MAX_STEP_M / max(float(np.linalg.norm(step)), 1e-9))
    return ExpertAction(
        np.concatenate([truth.tool_xyz + step, TOP_DOWN_XYZW]), gripper, bool(terminate)
    )
