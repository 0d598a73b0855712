"""Arm poses like those of a demonstration, without running one: for scenes that teach looking.

The pose never depends on what is asked.
"""

from __future__ import annotations

import numpy as np

from vla_policy.sim.model import FINGER_CLOSED_M, FINGER_OPEN_M
from vla_policy.sim.scene import DESTINATIONS, Scene
from vla_policy.sim.world import TOP_DOWN_XYZW, World

# Tool height of a grasp: the object's centre, but never so low that the tips touch the table.
LOWEST_TOOL_M = 0.018
_PAD_INNER_M = 0.0215
_FREE_LOWER, _FREE_UPPER = np.array([0.20, -0.22, 0.09]), np.array([0.44, 0.22, 0.30])


def grasp_height(half_m: float) -> float:
    """Tool height in m at which an object of this half size is grasped from the table."""
    return max(half_m, LOWEST_TOOL_M)


def opening_around(half_m: float) -> float:
    """Gripper opening (0..1) at which the pads just touch an object of this half size."""
    finger = half_m + _PAD_INNER_M
    return float(np.clip((finger - FINGER_CLOSED_M) / (FINGER_OPEN_M - FINGER_CLOSED_M), 0, 1))


def place_like_demonstration(world: World, scene: Scene, rng: np.random.Generator) -> None:
    """Reset world to scene, then put the arm (and perhaps an object in it) somewhere plausible."""
    world.reset(scene)
    draw = rng.random()
    if draw < 0.20:
        world.place_arm(_pose(rng.uniform(_FREE_LOWER, _FREE_UPPER)), float(rng.choice([1, 1, 0])))
    elif draw < 0.65:
        _at_object(world, scene, rng)
    elif draw < 0.90:
        _holding(world, scene, rng)
    else:
        _just_placed(world, scene, rng)


def _pose(xyz: np.ndarray) -> np.ndarray:
    return np.concatenate([xyz, TOP_DOWN_XYZW])


def _at_object(world: World, scene: Scene, rng: np.random.Generator) -> None:
    """Above an object or around it, the fingers open or (low down) partly closed."""
    item = scene.objects[rng.integers(len(scene.objects))]
    low = grasp_height(item.half_m)
    height = low + rng.uniform(0, 0.02) if rng.random() < 0.35 else rng.uniform(low, 0.20)
    spread = 0.005 if height < 0.075 else rng.choice([0.006, 0.015, 0.03])
    xy = np.array(item.xy) + rng.normal(0, spread, 2)
    gripper = 1.0
    if height < low + 0.02 and rng.random() < 0.4:
        gripper = rng.uniform(opening_around(item.half_m + 0.004), 1.0)
    world.place_arm(_pose(np.array([*xy, height])), float(gripper))


def _holding(world: World, scene: Scene, rng: np.random.Generator) -> None:
    """An object between the fingers: where it lay, on the way, over a destination, or sliding."""
    index = int(rng.integers(len(scene.objects)))
    item = scene.objects[index]
    low = grasp_height(item.half_m)
    goal = scene.destination_xyz(DESTINATIONS[rng.integers(2)])[:2] + rng.normal(0, 0.012, 2)
    start, where = np.array(item.xy), rng.random()
    if where < 0.35:
        xy, height = start, rng.uniform(low, 0.18)
    elif where < 0.60:
        xy, height = start + rng.uniform(0, 1) * (goal - start), rng.uniform(0.09, 0.18)
    elif where < 0.85:
        xy, height = goal, rng.uniform(low + 0.004, 0.18)
    else:
        goal = scene.destination_xyz("pad")[:2] + rng.normal(0, 0.012, 2)
        xy, height = start + rng.uniform(0, 1) * (goal - start), low
    tool = np.array([*(xy + rng.normal(0, 0.004, 2)), height])
    turn = [np.cos(item.yaw_rad / 2), 0, 0, np.sin(item.yaw_rad / 2)]
    slip = np.array([*rng.normal(0, [0.003, 0.0005]), item.half_m - low])
    centre = tool + slip
    world.place_object(index, centre, turn)
    world.place_arm(_pose(tool), max(opening_around(item.half_m) - 0.01, 0.0))


def _just_placed(world: World, scene: Scene, rng: np.random.Generator) -> None:
    """An object at a destination, the open gripper around or above it."""
    index = int(rng.integers(len(scene.objects)))
    item = scene.objects[index]
    name = DESTINATIONS[rng.integers(2)]
    xy = scene.destination_xyz(name)[:2] + rng.normal(0, 0.012, 2)
    floor = 0.002 if name == "tray" else 0.0
    world.place_object(index, np.array([*xy, item.half_m + floor]))
    low = grasp_height(item.half_m) + floor
    tool = np.array([*(xy + rng.normal(0, 0.005, 2)), rng.uniform(low, 0.18)])
    world.place_arm(_pose(tool), 1.0)
