"""Recording one demonstration: frames at 10 Hz with the clean action of who acts, usually the expert, as the label.

What is executed is the action plus noise, so that the data also shows how to come back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from vla_policy.sim.demonstrations.expert import MAX_STEP_M, ArmGoal, ExpertAction, expert_action
from vla_policy.sim.demonstrations.labels import Frame, label_frame, sample_queries
from vla_policy.sim.demonstrations.row_player import Driver
from vla_policy.sim.demonstrations.start_poses import start_oddly
from vla_policy.sim.disturbance import DRIVE_SIGMA, LOWEST_M, SIGMAS, share_at
from vla_policy.sim.scenes.scene import Scene, new_object, sample_scene
from vla_policy.sim.tasks.judge import Judge
from vla_policy.sim.tasks.references import Reference
from vla_policy.sim.tasks.tasks import FAMILIES, Task, phrase_task, sample_task
from vla_policy.sim.world.ground_truth import Truth
from vla_policy.sim.world.world import World

# Who acts: the targets 0.1 s later, from the task and the truth.
Actor: TypeAlias = Callable[[Task, Truth], ExpertAction]

FRAMES_PER_S = 7.5  # of the time that a task may take
TERMINATE_FRAMES = 5
_RETRIES, _RETRY_STRIDE = 4, 20_000


def demonstrate(
    world: World, scene_seed: int, split: str, rng: np.random.Generator,
    frames: list[Frame], texts: list[list[str]], family: str | None = None,
) -> int:  # fmt: skip
    """Append the frames and texts of one successful demonstration; returns how many were tried.

    family: of its task; None: drawn.
    """
    for attempt in range(_RETRIES):
        seed = scene_seed + attempt * _RETRY_STRIDE
        scene = sample_scene(seed, split=split, robot=world.twin.name)
        recorded = record(world, scene, rng, family)
        if recorded is None:
            continue
        append(recorded, scene_seed, frames, texts)
        return attempt + 1
    raise RuntimeError(f"scene {scene_seed}: the expert failed {_RETRIES} times in a row")


def append(
    recorded: list[tuple[Frame, list[str]]],
    number: int,
    frames: list[Frame],
    texts: list[list[str]],
) -> None:
    """The frames of an episode with its number."""
    for index, (frame, sentences) in enumerate(recorded):
        frames.append(frame | {"episode": np.int32(number), "t": np.int32(index)})
        texts.append(sentences)


def action_label(action: ExpertAction, poses: list[np.ndarray], *, drives: bool) -> np.ndarray:
    """float32: of each arm its step and gripper, then terminate, then the base's velocity if it drives.

    A step: dx dy dz m and rotation vector rad from the measured pose. poses: float64[7] each.
    """
    values: list[float] = []
    for goal, pose in zip(action.arms, poses, strict=True):
        x, y, z, w = _multiply(goal.pose[3:], pose[3:] * [-1, -1, -1, 1])
        sign = 1.0 if w >= 0 else -1.0
        turn = 2.0 * sign * np.array([x, y, z])  # turns between rows are small
        values += [*(goal.pose[:3] - pose[:3]), *turn, goal.gripper]
    values += [float(action.terminate), *(action.drive if drives else ())]
    return np.array(values, np.float32)


def record(
    world: World,
    scene: Scene,
    rng: np.random.Generator,
    family: str | None,
    actor: Actor = expert_action,
) -> list[tuple[Frame, list[str]]] | None:
    """The frames and texts of one episode; None if it did not succeed and end in time.

    family: of its task; None: drawn.
    """
    world.reset(scene)
    twin = world.twin
    start_oddly(world, rng)
    new = new_object(scene)
    task = sample_task(scene, rng, family, None if new is None else "colour", target=new)
    sigma = float(rng.choice(SIGMAS))
    judge = Judge(task, world.truth())
    driver = Driver(world, judge)
    recorded, ended = [], 0
    for _ in range(round(twin.seconds * FRAMES_PER_S)):
        truth = world.truth()
        action = actor(task, truth)
        tasks = [task, *_paraphrases(task, scene, rng)]
        tasks += sample_queries(scene, truth.object_xyz, rng, 3)
        frame = label_frame(world, tasks)
        poses = [np.array(pose) for pose in world.robot_state().poses.values()]
        frame["action"] = action_label(action, poses, drives=twin.drives)
        frame["family"] = np.int8(FAMILIES.index(task.family))
        recorded.append((frame, [t.instruction for t in tasks]))
        driver.pursue(_disturbed(action, truth, sigma, rng))
        ended += action.terminate
        if ended >= TERMINATE_FRAMES:
            return recorded if driver.result.ever_success else None
    return None


def _paraphrases(task: Task, scene: Scene, rng: np.random.Generator) -> list[Task]:
    """Two other ways to say the task, with what it meant when it began."""
    item = scene.objects[task.target]
    same = _phrase_of(task)
    named = Reference("colour", f"{item.colour} {item.shape}", task.target)
    chosen = [same, named if rng.random() < 0.5 else same]
    return [phrase_task(task.family, c, task.destination, rng) for c in chosen]


def _phrase_of(task: Task) -> Reference:
    return Reference(task.kind, task.phrase, task.target, task.reference)


def _disturbed(
    action: ExpertAction, truth: Truth, sigma: float, rng: np.random.Generator
) -> ExpertAction:
    """action with noise: smaller near the table, where it would knock things over."""
    arms = []
    for goal, tool in zip(action.arms, truth.tools, strict=True):
        noisy = goal.pose.copy()
        noisy[:3] += rng.normal(0, sigma * MAX_STEP_M, 3) * share_at(tool.xyz[2])
        noisy[2] = max(noisy[2], LOWEST_M)
        arms.append(ArmGoal(noisy, goal.gripper))
    drive = action.drive
    if any(drive):
        ahead, turn = drive + rng.normal(0, sigma * DRIVE_SIGMA)
        drive = (float(ahead), float(turn))
    return replace(action, arms=tuple(arms), drive=drive)


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Quaternion product a * b, both xyzw."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return np.array(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ]
    )
