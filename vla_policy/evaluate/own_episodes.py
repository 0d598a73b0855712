"""Episodes of the policy itself in the twin: replay data for a policy whose training data is gone.

The policy acts in place of the scripted expert of `vla generate episodes`; its successful episodes are kept, with its own
actions as labels. On a robot, takes of `vla record` with the policy in control are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vla_policy.data.shards import shard_path, write_shard
from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import VELOCITY, Layout, layout_of
from vla_policy.evaluate.closed_loop import goals_of, observed
from vla_policy.evaluate.rollout import KnowsTheTask
from vla_policy.models.sampling import InferenceOptions
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.sim.demonstrations.expert import ArmGoal, ExpertAction
from vla_policy.sim.demonstrations.generate import SEEDS_PER_SET, SHARD_ROWS
from vla_policy.sim.demonstrations.labels import Frame
from vla_policy.sim.demonstrations.record import append, record
from vla_policy.sim.scenes.scene import sample_scene
from vla_policy.sim.tasks.tasks import Task
from vla_policy.sim.world.ground_truth import Truth
from vla_policy.sim.world.world import World
from vla_policy.types import ActionChunk, Observation

TRIES = 3  # scenes for each episode that is wanted, on average


@dataclass(frozen=True, slots=True)
class OwnEpisodes:
    """kept: episodes that were written. tried: how many the policy was asked for."""

    kept: int
    tried: int


class PolicyActor:
    """Acts as a policy does: the first row of a new chunk for each observation."""

    def __init__(self, policy: PolicyProtocol, world: World, layout: Layout) -> None:
        self._policy, self._world, self._layout = policy, world, layout
        self._asked = 0

    def __call__(self, task: Task, truth: Truth) -> ExpertAction:
        if isinstance(self._policy, KnowsTheTask):
            self._policy.prepare(self._world, task)
        seen = self.observe(task.instruction)
        self._asked += 1
        chunk = self._policy.infer_chunk(seen, None, InferenceOptions(seed=self._asked))
        return action_of(chunk, self._layout, self._world)

    def observe(self, instruction: str) -> Observation:
        """What the policy sees now."""
        contract = self._policy.contract
        return observed(self._world, instruction, contract.state_names, contract.image_px)


def action_of(chunk: ActionChunk, layout: Layout, world: World) -> ExpertAction:
    """The first row of a chunk as an action of the twin."""
    values: Mapping[str, float] = dict(zip(chunk.names, chunk.actions[0].tolist(), strict=True))
    poses, openings = goals_of(layout, values)
    arms = tuple(ArmGoal(poses[arm.tool], openings[arm.gripper]) for arm in world.twin.arms)
    drives = any(part.kind == VELOCITY for part in layout.parts)
    drive = (values["base.vx"], values["base.wz"]) if drives else (0.0, 0.0)
    return ExpertAction(arms, drive, terminate=chunk.terminate)


def make_own_episodes(
    policy: PolicyProtocol, robot: str, out: Path, count: int, seed: int, renderer: str
) -> OwnEpisodes:
    """Write count episodes of policy below out, as `vla generate episodes` does. seed: 0..9.

    Raises ValueError if the policy fails in more than TRIES times as many scenes: it has nothing to keep.
    """
    embodiment, world = load_embodiment(robot), World(renderer=renderer, robot=robot)
    actor = PolicyActor(policy, world, layout_of(embodiment))
    frames: list[Frame] = []
    texts: list[list[str]] = []
    kept = tried = shard = 0
    per_shard = SHARD_ROWS["episodes"]
    while kept < count:
        if tried >= TRIES * count:
            raise ValueError(
                f"own episodes: the policy succeeded in {kept} of {tried} tasks, expected {count}: it has too little to keep"
            )
        number = seed * SEEDS_PER_SET + tried
        scene = sample_scene(number, robot=robot)
        recorded = record(world, scene, np.random.default_rng([seed, tried, 11]), None, actor)
        tried += 1
        if recorded is None:
            continue
        append(recorded, number, frames, texts)
        kept += 1
        if kept % per_shard == 0 or kept == count:
            arrays = {name: np.stack([f[name] for f in frames]) for name in frames[0]}
            meta = {"what": "episodes", "seed": seed, "split": "train", "robot": robot}
            write_shard(shard_path(out, shard), arrays, texts, meta | {"actor": "policy"})
            frames, texts, shard = [], [], shard + 1
    return OwnEpisodes(kept, tried)
