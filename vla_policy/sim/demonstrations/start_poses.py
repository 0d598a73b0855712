"""Where an arm is when a demonstration begins, and poses like those of one without running it, for scenes that train vision.

The pose never depends on the instruction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from vla_policy.sim.scenes.base_reach import in_zone, stand_at
from vla_policy.sim.scenes.scene import DESTINATIONS, Scene, turn_matrix
from vla_policy.sim.world.robot_model import FINGER_CLOSED_M, FINGER_OPEN_M
from vla_policy.sim.world.world import TOP_DOWN_XYZW, World

# Tool height of a grasp: the object's centre, but never so low that the finger tips touch the
# table.
LOWEST_TOOL_M = 0.018
_PAD_INNER_M = 0.0215
ODD_SHARE = 0.3  # of demonstrations
_ODD_LOWER, _ODD_UPPER = np.array([0.20, -0.20, 0.09]), np.array([0.42, 0.20, 0.26])
_ODD_OPENINGS = (0.3, 1.0)
_FREE_LOWER, _FREE_UPPER = np.array([0.20, -0.22, 0.09]), np.array([0.44, 0.22, 0.30])


def grasp_height(half_m: float) -> float:
    """Tool height in m at which an object of this half size is grasped from the table."""
    return max(half_m, LOWEST_TOOL_M)


def opening_around(half_m: float) -> float:
    """Gripper opening (0..1) at which the pads just touch an object of this half size."""
    finger = half_m + _PAD_INNER_M
    return float(np.clip((finger - FINGER_CLOSED_M) / (FINGER_OPEN_M - FINGER_CLOSED_M), 0, 1))


def start_oddly(world: World, rng: np.random.Generator) -> bool:
    """Place one of the arms somewhere in front of it, its hand partly closed, as after an earlier task, in ODD_SHARE of the calls.

    Returns whether it did. Else a hand that is partly closed always holds something, and a policy that has once closed it
    too early never opens it again.
    """
    if rng.random() >= ODD_SHARE:
        return False
    arms = world.twin.arms
    index = int(rng.integers(len(arms))) if len(arms) > 1 else 0
    start = rng.uniform(_ODD_LOWER, _ODD_UPPER) + arms[index].base_xyz
    world.place_arm(_pose(start), float(rng.uniform(*_ODD_OPENINGS)), index)
    return True


def place_like_demonstration(world: World, scene: Scene, rng: np.random.Generator) -> None:
    """Reset world to scene, then place the robot at a plausible pose, maybe holding an object."""
    world.reset(scene)
    if world.twin.drives:
        _place_base(world, scene, rng)
    if len(world.twin.arms) > 1:
        _place_others(world, rng)
    draw = rng.random()
    if draw < 0.20:
        _anywhere(world, rng)
    elif draw < 0.65:
        _at_object(world, rng)
    elif draw < 0.90:
        _holding(world, rng)
    else:
        _just_placed(world, rng)


def _place_base(world: World, scene: Scene, rng: np.random.Generator) -> None:
    """Driving to one of the objects, already there, or at the start."""
    things = [np.array(item.xy) for item in scene.objects]
    things += [scene.destination_xyz(name)[:2] for name in DESTINATIONS]
    start = rng.normal(0, [0.02, 0.02, 0.05])
    goal = stand_at(start, things[rng.integers(len(things))])
    part = rng.choice([0.0, 1.0, rng.uniform(0, 1)], p=[0.25, 0.40, 0.35])
    pose = start + part * (goal - start)
    if 0 < part < 1:  # it turns first
        pose[2] = start[2] + min(1.0, 2 * part) * (goal[2] - start[2])
    world.place_base(pose + rng.normal(0, [0.01, 0.01, 0.05]))


def _place_others(world: World, rng: np.random.Generator) -> None:
    """Arms near their rest poses; the acting one is placed again later."""
    for index, arm in enumerate(world.twin.arms):
        spread = 0.015 if rng.random() < 0.8 else 0.07
        world.place_arm(_pose(np.array(arm.rest) + rng.normal(0, spread, 3)), 1.0, index)


def _pose(xyz: np.ndarray) -> np.ndarray:
    return np.concatenate([xyz, TOP_DOWN_XYZW])


def _arm_for(world: World, xy: np.ndarray) -> int:
    """The arm on whose side xy is."""
    arms = world.twin.arms
    return int(np.argmin([abs(xy[1] - arm.base_xyz[1]) for arm in arms]))


def _anywhere(world: World, rng: np.random.Generator) -> None:
    arms = world.twin.arms
    index = int(rng.integers(len(arms))) if len(arms) > 1 else 0
    xyz = rng.uniform(_FREE_LOWER, _FREE_UPPER) + arms[index].base_xyz
    rest = arms[index].rest_xyz
    if rest is not None and rng.random() < 0.7:  # arms with a rest pose are there most of the time
        xyz = np.array(rest) + rng.normal(0, 0.025, 3)
    world.place_arm(_pose(xyz), float(rng.choice([1, 1, 0])), index)


def _in_reach(scene: Scene, places: Sequence[ArrayLike]) -> list[int]:
    """Indices of places float64[2], base frame, that an arm can reach from the base's position."""
    every = range(len(places))
    return [
        i for i in every if not scene.twin.drives or in_zone(np.array(places[i]), working=True)
    ]


def _put(world: World, index: int, xyz: np.ndarray, turn_rad: float = 0.0) -> None:
    """Place an object at xyz of the base frame, turned relative to it."""
    x, y, yaw = world.base_pose
    if world.twin.drives:
        xyz = np.array([*([x, y] + turn_matrix(yaw) @ xyz[:2]), xyz[2]])
    half_rad = (turn_rad + yaw) / 2
    world.place_object(index, xyz, [np.cos(half_rad), 0, 0, np.sin(half_rad)])


def _at_object(world: World, rng: np.random.Generator) -> None:
    """Above or around an object, the fingers open or (low down) partly closed."""
    scene = world.truth().scene
    near = _in_reach(scene, [item.xy for item in scene.objects])
    if not near:
        return _anywhere(world, rng)
    item = scene.objects[near[rng.integers(len(near))]]
    low = grasp_height(item.half_m)
    height = low + rng.uniform(0, 0.02) if rng.random() < 0.35 else rng.uniform(low, 0.20)
    spread = 0.005 if height < 0.075 else rng.choice([0.006, 0.015, 0.03])
    xy = np.array(item.xy) + rng.normal(0, spread, 2)
    gripper = 1.0
    if height < low + 0.02 and rng.random() < 0.4:
        gripper = rng.uniform(opening_around(item.half_m + 0.004), 1.0)
    world.place_arm(
        _pose(np.array([*xy, height])), float(gripper), _arm_for(world, np.array(item.xy))
    )


def _holding(world: World, rng: np.random.Generator) -> None:
    """An object between the fingers: at its start, on the way, over a destination, or sliding."""
    scene = world.truth().scene
    index = int(rng.integers(len(scene.objects)))
    item = scene.objects[index]
    low = grasp_height(item.half_m)
    goal = scene.destination_xyz(DESTINATIONS[rng.integers(2)])[:2] + rng.normal(0, 0.012, 2)
    start, where = np.array(item.xy), rng.random()
    if where >= 0.85 and "push" not in scene.twin.families:
        where = 0.75
    arm = _arm_for(world, start)
    if scene.twin.drives:
        start, goal = _on_the_way(scene, start, goal, rng)
    if where < 0.35:
        xy, height = start, rng.uniform(low, 0.18)
    elif where < 0.60:
        xy, height = start + rng.uniform(0, 1) * (goal - start), rng.uniform(0.09, 0.18)
    elif where < 0.85:
        xy, height = goal, rng.uniform(low + 0.004, 0.18)
    else:
        goal = scene.destination_xyz("pad")[:2] + rng.normal(0, 0.012, 2)
        xy, height = start + rng.uniform(0, 1) * (goal - start), low
    if scene.twin.drives:
        rest = scene.twin.arms[arm].rest
        if np.linalg.norm(xy - rest[:2]) < 0.1:
            height = rest[2] + rng.normal(0, 0.02)
    tool = np.array([*(xy + rng.normal(0, 0.004, 2)), height])
    slip = np.array([*rng.normal(0, [0.003, 0.0005]), item.half_m - low])
    _put(world, index, tool + slip, float(np.clip(item.yaw_rad, -0.25, 0.25)))
    world.place_arm(_pose(tool), max(opening_around(item.half_m) - 0.01, 0.0), arm)


def _on_the_way(
    scene: Scene, start: np.ndarray, goal: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """start and goal; an unreachable one is replaced by the arm's rest position."""
    rest = np.array(scene.twin.arms[0].rest[:2]) + rng.normal(0, 0.02, 2)
    near = _in_reach(scene, [start, goal])
    return (start if 0 in near else rest), (goal if 1 in near else rest)


def _just_placed(world: World, rng: np.random.Generator) -> None:
    """An object at a destination, the open gripper around or above it."""
    scene = world.truth().scene
    index = int(rng.integers(len(scene.objects)))
    item = scene.objects[index]
    near = _in_reach(scene, [scene.destination_xyz(name)[:2] for name in DESTINATIONS])
    if not near:
        return _anywhere(world, rng)
    name = DESTINATIONS[near[rng.integers(len(near))]]
    xy = scene.destination_xyz(name)[:2] + rng.normal(0, 0.012, 2)
    floor = 0.002 if name == "tray" else 0.0
    _put(world, index, np.array([*xy, item.half_m + floor]))
    low = grasp_height(item.half_m) + floor
    tool = np.array([*(xy + rng.normal(0, 0.005, 2)), rng.uniform(low, 0.18)])
    world.place_arm(_pose(tool), 1.0, _arm_for(world, np.array(item.xy)))
