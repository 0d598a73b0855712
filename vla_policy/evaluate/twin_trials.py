"""The suites on the twins, for one policy and one robot: loaded once, for any trial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_policy.embodiment import Embodiment, load_embodiment
from vla_policy.evaluate.closed_loop import Pace
from vla_policy.evaluate.failure_picture import write_failure
from vla_policy.evaluate.measures import Measures
from vla_policy.evaluate.rollout import TrialResult, asked_for_nothing, roll_out
from vla_policy.evaluate.rt2 import COLUMNS, rt2_trial
from vla_policy.evaluate.suites import SUITES, trial
from vla_policy.execution.replanning import replan_interval_rows
from vla_policy.models.sampling import InferenceOptions
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.sim.scenes.scene import Scene
from vla_policy.sim.tasks.tasks import Task
from vla_policy.sim.twin import EXPERT
from vla_policy.sim.world.world import World


class TwinTrials:
    """settings: policy, robot, head, seed, execute_rows, latency, scheme, num_steps, device, renderer, web, and pictures: a folder
    for one of each failed trial, if there is to be one.

    Raises as load_policy, and ValueError if the policy does not fit the robot.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._robot = load_embodiment(settings["robot"])
        self.policy = _load(settings, self._robot)
        self._world: World | None = None

    def unfit(self, suite: str) -> str:
        """Why this policy does not fit a suite, as text; empty if it does."""
        if suite in SUITES and not SUITES[suite].moves and not self.policy.can_point:
            return "it asks where the policy looks, and this kind of model cannot point"
        return ""

    def run(self, suite: str, index: int, measures: Measures | None = None) -> TrialResult:
        """Trial number index of a suite; deterministic."""
        if self._world is None:
            self._world = World(renderer=self._settings["renderer"], robot=self._robot.name)
        settings = self._settings
        scene, task = drawn(settings, suite, index)
        if suite in COLUMNS and COLUMNS[suite].absent:
            return asked_for_nothing(self.policy, self._world, scene, task, embodiment=self._robot)
        rows = replan_interval_rows(self.policy.rows, settings["execute_rows"])
        pace = Pace(round(settings["latency"] * 1e9), rows, settings["scheme"])
        outcome = roll_out(
            self.policy,
            self._world,
            scene,
            task,
            embodiment=self._robot,
            pace=pace,
            moves=suite not in SUITES or SUITES[suite].moves,
            options=InferenceOptions(num_steps=settings["num_steps"]),
            measures=measures,
        )
        if settings.get("pictures") and not outcome.success:
            path = Path(settings["pictures"]) / f"{suite}_{index:04d}.png"
            write_failure(path, self._world, scene, outcome)
        return outcome


def drawn(settings: Mapping[str, Any], suite: str, index: int) -> tuple[Scene, Task]:
    """Scene and task of a trial."""
    seed, robot = settings["seed"], settings["robot"]
    if suite in SUITES:
        return trial(SUITES[suite], seed, index, robot=robot)
    return rt2_trial(COLUMNS[suite], seed, index, web=Path(settings["web"]), robot=robot)


def _load(settings: Mapping[str, Any], robot: Embodiment) -> PolicyProtocol:
    if settings["policy"] == EXPERT:
        from vla_policy.evaluate.expert_policy import ExpertPolicy

        return ExpertPolicy(robot.name)
    import torch

    from vla_policy.policy import load_policy

    torch.set_num_threads(1)
    policy = load_policy(
        settings["policy"], embodiment=robot.name, head=settings["head"], device=settings["device"]
    )
    problems = policy.check(robot)
    if problems:
        raise ValueError(f"policy {settings['policy']!r}: {'; '.join(problems)}")
    if settings["num_steps"] is not None and policy.head != "flow":
        raise ValueError(f"--num-steps: the {policy.head} head takes no integration steps")
    return policy
