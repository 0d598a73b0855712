"""What the expert does where a policy with a delay has led: data against its own mistakes.

A policy that continues its plan drives through the whole control path, its chunks arriving late. At each of its
looks a copy of the cell goes on until that chunk would arrive, and from there the expert shows the way. A frame
holds what the policy saw, the rows that are executed meanwhile, and the expert's rows after them.
Source: DAgger (arXiv:1011.0686); differs in: what is corrected is where a chunk begins to count, not where it
was looked.
"""

from __future__ import annotations

import numpy as np

from vla_policy.embodiment import Embodiment
from vla_policy.evaluate.pilot import Pace, Pilot
from vla_policy.evaluate.rollout import roll_out
from vla_policy.execution.pace import NOTHING, Ask
from vla_policy.sim.demonstrate import paraphrases
from vla_policy.sim.drive import STEPS_PER_ROW, Driver
from vla_policy.sim.expert import expert_action
from vla_policy.sim.judge import Judge
from vla_policy.sim.labels import label_frame, sample_queries
from vla_policy.sim.scene import sample_scene
from vla_policy.sim.tasks import Task, sample_task
from vla_policy.sim.world import World
from vla_policy.transforms import poses_to_steps
from vla_policy.types import Array, Observation

DELAYS_MS = (0, 100, 200, 300, 300, 400, 600, 800)  # taken in turn
SETTLE_TICKS = 10
EXECUTED_ROWS = (2, 6)  # rows between two looks: at least, below


def correct(
    policy, world: World, copy: World, embodiment: Embodiment, seed: int, number: int, rng,
    frames: list, texts: list,
) -> bool:  # fmt: skip
    """Append a frame for each look of policy in one trial of its own; returns whether it succeeded.

    A frame is as in an episode, but instead of action it has chunk float32[t, 8], the columns of a model's
    action (terminate first), and known, how many of its first rows were under way. copy: a world that is
    used up. number: of the trial, which decides its delay.
    """
    scene = sample_scene(seed, robot=world.twin.name)
    task = sample_task(scene, rng)
    rows = int(rng.integers(*EXECUTED_ROWS))
    pace = Pace(DELAYS_MS[number % len(DELAYS_MS)] * 1_000_000, rows, "rtc")

    def watch(observation: Observation, asked: Ask | None, pilot: Pilot) -> None:
        asked = asked or NOTHING
        known = np.zeros((0, 8))
        if asked.previous is not None:
            known = asked.previous.actions[: asked.frozen_rows]
        tasks = [task, *paraphrases(task, scene, rng)]
        tasks += sample_queries(scene, world.truth().object_xyz, rng, 3)
        frame = label_frame(world, tasks)
        frame["known"] = np.int64(len(known))
        copy.copy_from(world)
        frame["chunk"] = _answer(pilot.branch(copy), copy, task, observation, known, policy.rows)
        frames.append(frame)
        texts.append([t.instruction for t in tasks])

    return roll_out(
        policy, world, scene, task, embodiment=embodiment, pace=pace, moves=True, watch=watch
    ).success


def _answer(
    pilot: Pilot, copy: World, task: Task, observation: Observation, known: Array, count: int
) -> Array:
    """float32[count, 8]: the known rows as the plan has them, then the expert's from where they end."""
    for _ in range(len(known) * STEPS_PER_ROW):
        pilot.step()
    if len(known):
        # The guard may have slowed the arm; the expert goes on from where the plan leads, not before it.
        for _ in range(SETTLE_TICKS):
            copy.command(known[-1, :7], float(known[-1, 7]))
            copy.step()
    driver = Driver(copy, Judge(task, copy.truth()))
    rows, done = [*known], [0.0] * len(known)
    while len(rows) < count:
        action = expert_action(task, copy.truth())
        rows.append(np.array([*action.arms[0].pose, action.arms[0].gripper]))
        done.append(float(action.terminate))
        driver.pursue(action)
    poses = np.array(rows)
    steps = poses_to_steps(observation.state[:7], poses[:, :7])
    return np.column_stack((done, steps, poses[:, 7])).astype(np.float32)
