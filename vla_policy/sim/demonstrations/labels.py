"""One labelled frame: camera images and robot state, and the truth for six instructions.

Every frame has QUERIES instructions at once, so that the text decides and not the arm's pose.
"""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np

from vla_policy.sim.scenes.scene import SHAPES, Scene, SceneObject
from vla_policy.sim.tasks.references import COLOUR_WORDS, KINDS, all_references
from vla_policy.sim.tasks.tasks import Task, sample_task
from vla_policy.sim.twin import IMAGE_PX
from vla_policy.sim.world.world import World

Frame: TypeAlias = "dict[str, np.ndarray | np.generic]"  # one value per column; shards stack them

QUERIES = 6
NO_LABEL = -100  # colour and shape of a box with a picture


def state_vector(world: World) -> np.ndarray:
    """float32[8 per arm]: measured x y z qx qy qz qw of the tool in the base frame, opening 0..1."""
    state = world.robot_state()
    values = [
        value
        for pose, gripper in zip(state.poses.values(), state.grippers.values(), strict=True)
        for value in (*pose, gripper)
    ]
    return np.array(values, np.float32)


def sample_queries(
    scene: Scene, xyz: np.ndarray, rng: np.random.Generator, count: int
) -> list[Task]:
    """Instructions that are true and unambiguous at xyz float64[n, 3], about every object."""
    kinds = {r.kind for r in all_references(scene, xyz)}
    tasks: list[Task] = []
    order = rng.permutation(len(scene.objects))
    for index in range(count):
        if index < len(order) and count >= len(order):
            target = int(order[index])
            tasks.append(sample_task(scene, rng, xyz=xyz, target=target, feasible=False))
            continue
        drawn = KINDS[rng.choice(len(KINDS), p=[0.25, 0.10, 0.30, 0.35])]
        kind = drawn if drawn in kinds else None
        tasks.append(sample_task(scene, rng, None, kind, xyz=xyz, feasible=False))
    return tasks


def label_frame(world: World, tasks: list[Task]) -> Frame:
    """Images, state and the truth of each task (q = len(tasks)), positions in the base frame, metres.

    NaN marks a reference or destination that the task lacks. Image coordinates are in
    [0, 1], u right, v down. A robot with several wrist cameras has one more axis for them, after
    the frame of "wrist" and after q of wrist_uv and wrist_visible.
    """
    truth = world.truth()
    scene, xyz = truth.scene, truth.object_xyz
    target = np.stack([xyz[t.target] for t in tasks])
    reference = np.stack([_where(t.reference, scene, xyz) for t in tasks])
    destination = np.stack([_where(t.destination, scene, xyz) for t in tasks])
    points = np.stack([target, reference, destination], 1)  # [q, 3, xyz]
    front_uv = world.project("front", points.reshape(-1, 3)).reshape(len(tasks), 3, 2)
    wrists = [arm.camera for arm in world.twin.arms]
    wrist = np.stack([world.render(name, IMAGE_PX, IMAGE_PX) for name in wrists])
    wrist_uv = np.stack([world.project(name, target) for name in wrists], 1)
    if len(wrists) == 1:
        wrist, wrist_uv = wrist[0], wrist_uv[:, 0]
    items = [scene.objects[t.target] for t in tasks]
    with np.errstate(invalid="ignore"):
        visible = ((wrist_uv >= 0) & (wrist_uv <= 1)).all(-1)
    return {
        "front": _front(world),
        "wrist": wrist,
        "state": state_vector(world),
        "target_xyz": target.astype(np.float32),
        "reference_xyz": reference.astype(np.float32),
        "destination_xyz": destination.astype(np.float32),
        "target_colour": np.array([_number(o, COLOUR_WORDS, o.colour) for o in items], np.int8),
        "target_shape": np.array([_number(o, SHAPES, o.shape) for o in items], np.int8),
        "target_size": np.array([o.half_m for o in items], np.float32),
        "front_uv": front_uv.astype(np.float32),
        "wrist_uv": wrist_uv.astype(np.float32),
        "wrist_visible": np.asarray(visible),
    }


def _number(item: SceneObject, known: tuple[str, ...], word: str) -> int:
    return known.index(word) if item.card is None else NO_LABEL


def _front(world: World) -> np.ndarray:
    """The front image at a policy's IMAGE_PX, from a camera that may have a higher resolution."""
    image = world.render("front")
    if len(image) == IMAGE_PX:
        return image
    shrunk: np.ndarray = cv2.resize(image, (IMAGE_PX, IMAGE_PX), interpolation=cv2.INTER_AREA)
    return shrunk


def _where(thing: int | str | None, scene: Scene, xyz: np.ndarray) -> np.ndarray:
    if thing is None:
        return np.full(3, np.nan)
    return scene.destination_xyz(thing) if isinstance(thing, str) else xyz[thing]
