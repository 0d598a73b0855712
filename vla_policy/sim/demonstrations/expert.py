"""A scripted demonstrator: reads the ground truth, returns the tools' poses 0.1 s later.

It has no memory and no timers: its action follows from the positions of all objects, so that a
policy without memory can imitate it. Its heights form a funnel: the closer above the goal, the
lower. A push keeps the object between the fingers and slides it along the table. With two arms
one acts and the other waits; a base drives to where the arm can work, then stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.sim.demonstrations.start_poses import grasp_height, opening_around
from vla_policy.sim.scenes.base_reach import in_zone, velocity_towards
from vla_policy.sim.tasks.judge import CLOSED, TIP_M, inside
from vla_policy.sim.tasks.tasks import Task
from vla_policy.sim.world.arm import TOP_DOWN_XYZW
from vla_policy.sim.world.ground_truth import Tool, Truth

MAX_STEP_M = 0.035
HOVER_M = 0.10  # tool height above the table from which it descends on an object
CARRY_M = 0.12
LIFT_M = 0.15
RETREAT_M = 0.13
CLEAR_M = 0.09  # tool height above which the base may drive
_ALIGNED_M = 0.006
_AT_M = 0.007
_SLOPE = 5.0  # funnel: metres of height per metre of horizontal distance
_GRASPED_OPENING = 0.07  # closed on the object: at most this much wider than it
_RELEASE_ABOVE_M = 0.004
_AT_REST_M = 0.06


@dataclass(frozen=True, slots=True)
class ArmGoal:
    """pose: float64[7] tool target in the base frame at most MAX_STEP_M away; gripper 0..1."""

    pose: np.ndarray
    gripper: float


@dataclass(frozen=True, slots=True)
class ExpertAction:
    """arms: in the twin's order. drive: m/s ahead and rad/s, (0, 0) without a base.

    terminate: the task is complete and the arm has retreated.
    """

    arms: tuple[ArmGoal, ...]
    drive: tuple[float, float] = (0.0, 0.0)
    terminate: bool = False


def expert_action(task: Task, truth: Truth) -> ExpertAction:
    """The next targets for task, from the current truth."""
    acting = acting_arm(task, truth)
    arms = [_rest(truth, index) for index in range(len(truth.tools))]
    tool = truth.tools[acting]
    if truth.scene.twin.drives:
        way = _way(task, truth, tool, np.array(truth.scene.twin.arms[acting].rest))
        if way is not None:
            return way
    arms[acting], done = _act(task, truth, tool)
    return ExpertAction(tuple(arms), terminate=done)


def acting_arm(task: Task, truth: Truth) -> int:
    """The arm that acts: the one that holds the object or has put it down, else the closer one."""
    if len(truth.tools) == 1:
        return 0
    centre, half_m = truth.object_xyz[task.target], truth.scene.objects[task.target].half_m
    for index, tool in enumerate(truth.tools):
        if _grasped(tool, centre, half_m):
            return index
    if task.destination and inside(truth.scene, centre, task.target, task.destination):
        return int(np.argmin([np.linalg.norm(tool.xyz - centre) for tool in truth.tools]))
    away = [abs(centre[1] - arm.base_xyz[1]) for arm in truth.scene.twin.arms]
    return int(np.argmin(away))


def _act(task: Task, truth: Truth, tool: Tool) -> tuple[ArmGoal, bool]:
    """The goal of an arm that is close enough to work, and whether the task is complete."""
    item = truth.scene.objects[task.target]
    centre = truth.object_xyz[task.target]
    low = grasp_height(item.half_m)
    if task.family == "touch":
        return _touch(tool, centre, item.half_m)
    if _delivered(task, truth, tool):
        return _retreat(tool)
    if not _grasped(tool, centre, item.half_m):
        return _reach(tool, centre, max(low, centre[2])), False
    if task.family == "pick":
        goal = np.array([*tool.xyz[:2], LIFT_M])
        return _move(tool, goal, 0.0), bool(tool.xyz[2] > LIFT_M - 0.02)
    place = truth.scene.destination_xyz(task.place)[:2]
    if task.family == "push":
        return _slide(tool, centre, place, low), False
    floor = 0.002 if task.destination == "tray" else 0.0
    return _carry(tool, centre, place, low + floor + _RELEASE_ABOVE_M), False


def _way(task: Task, truth: Truth, tool: Tool, rest: np.ndarray) -> ExpertAction | None:
    """Drive to where the arm can work, the arm at rest meanwhile; None if it can from here."""
    centre = truth.object_xyz[task.target]
    holds = _grasped(tool, centre, truth.scene.objects[task.target].half_m)
    if _delivered(task, truth, tool) or (holds and task.family == "pick"):
        return None
    goal = truth.scene.destination_xyz(task.place) if holds else centre
    working = bool(np.linalg.norm(tool.xyz - rest) > _AT_REST_M)
    if in_zone(goal[:2], working=working):
        return None
    gripper = 0.0 if holds else 1.0
    if tool.xyz[2] < CLEAR_M:  # up before driving
        return ExpertAction((_move(tool, np.array([*tool.xyz[:2], rest[2]]), gripper),))
    return ExpertAction((_move(tool, rest, gripper),), velocity_towards(goal[:2]))


def _rest(truth: Truth, index: int) -> ArmGoal:
    """Up, then to the arm's waiting pose, open."""
    tool, rest = truth.tools[index], truth.scene.twin.arms[index].rest_xyz
    goal = tool.xyz if rest is None else np.array(rest)
    if tool.xyz[2] < CLEAR_M:
        goal = np.array([*tool.xyz[:2], goal[2]])
    return _move(tool, goal, 1.0)


def _grasped(tool: Tool, centre: np.ndarray, half_m: float) -> bool:
    between = np.abs(centre - tool.xyz)
    closed = tool.gripper < opening_around(half_m) + _GRASPED_OPENING
    return bool(closed and (between < [0.014, 0.012, 0.02]).all())


def _delivered(task: Task, truth: Truth, tool: Tool) -> bool:
    """The object is at its destination and the fingers no longer hold it."""
    if task.destination is None:
        return False
    centre, half_m = truth.object_xyz[task.target], truth.scene.objects[task.target].half_m
    opened = tool.gripper > opening_around(half_m) + _GRASPED_OPENING
    away = np.linalg.norm(centre - tool.xyz) > 0.03
    lies = inside(truth.scene, centre, task.target, task.destination)
    return bool(lies and (opened or away))


def _reach(tool: Tool, centre: np.ndarray, low: float) -> ArmGoal:
    """Descend around the object in a funnel, then close."""
    aside = float(np.linalg.norm(centre[:2] - tool.xyz[:2]))
    height = low + np.clip((aside - _ALIGNED_M) * _SLOPE, 0.0, HOVER_M - low)
    if aside < _AT_M and tool.xyz[2] < low + 0.006:
        return _move(tool, np.array([*centre[:2], low]), 0.0)
    goal = np.array([*centre[:2], height])
    if tool.xyz[2] < height - 0.02:  # beside an object: up before across
        goal[:2] = tool.xyz[:2]
    return _move(tool, goal, 1.0)


def _touch(tool: Tool, centre: np.ndarray, half_m: float) -> tuple[ArmGoal, bool]:
    """Closed, over the thing and down in a funnel until the tips stand on it; there it stays."""
    top = centre[2] + half_m + TIP_M
    aside = float(np.linalg.norm(centre[:2] - tool.xyz[:2]))
    height = top + np.clip((aside - _ALIGNED_M) * _SLOPE, 0.0, HOVER_M)
    goal = np.array([*centre[:2], height])
    if tool.xyz[2] < height - 0.02:  # beside something: up before across
        goal[:2] = tool.xyz[:2]
    done = aside < _AT_M and tool.xyz[2] < top + 0.006 and tool.gripper < CLOSED
    return _move(tool, goal, 0.0), bool(done)


def _carry(tool: Tool, centre: np.ndarray, place: np.ndarray, low: float) -> ArmGoal:
    """Up, across, down in a funnel over the place, then open."""
    aside = float(np.linalg.norm(place - centre[:2]))
    height = low + np.clip((aside - 0.012) * _SLOPE, 0.0, CARRY_M - low)
    if aside < 0.014 and tool.xyz[2] < low + 0.006:
        return _move(tool, tool.xyz, 1.0)
    goal = np.array([*(tool.xyz[:2] + place - centre[:2]), height])
    if tool.xyz[2] < min(height, 0.085) - 0.01:
        goal[:2] = tool.xyz[:2]
    return _move(tool, goal, 0.0)


def _slide(tool: Tool, centre: np.ndarray, place: np.ndarray, low: float) -> ArmGoal:
    """Along the table to the place, then open."""
    if np.linalg.norm(place - centre[:2]) < 0.012:
        return _move(tool, np.array([*tool.xyz[:2], low]), 1.0)
    return _move(tool, np.array([*(tool.xyz[:2] + place - centre[:2]), low]), 0.0)


def _retreat(tool: Tool) -> tuple[ArmGoal, bool]:
    """Open fully, move straight up, and report completion."""
    goal = np.array([*tool.xyz[:2], RETREAT_M if tool.gripper > 0.85 else tool.xyz[2]])
    return _move(tool, goal, 1.0), bool(tool.xyz[2] > RETREAT_M - 0.03)


def _move(tool: Tool, goal: np.ndarray, gripper: float) -> ArmGoal:
    step = goal - tool.xyz
    step *= min(1.0, MAX_STEP_M / max(float(np.linalg.norm(step)), 1e-9))
    return ArmGoal(np.concatenate([tool.xyz + step, TOP_DOWN_XYZW]), gripper)
