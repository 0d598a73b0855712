"""Meta-World (optional package `metaworld`) as suites: its tasks, its physics, its verdict.

One camera, the gripper's position and opening, four commands between -1 and 1: three steps of the
gripper and its effort. A policy's rows are sent unchanged, one per step: without guard or delay.
A policy for config/benchmarks/metaworld_sawyer.yaml has poses instead (sim/metaworld.py), from the
same camera and the same four values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from vla_policy.embodiment.spaces import GRIPPER, TOOL_POSE
from vla_policy.evaluate.benchmark_policy import BenchmarkRobot, load_for, timed_rows
from vla_policy.evaluate.measures import FILM_PX, Measures
from vla_policy.evaluate.rollout import TrialResult
from vla_policy.execution.replanning import replan_interval_rows
from vla_policy.models.sampling import InferenceOptions
from vla_policy.runtime.policy_protocol import PlainContract, PlainPolicy, PolicyProtocol
from vla_policy.sim.metaworld_tasks import MT50, ROBOT, sentence_of
from vla_policy.sim.twin import EXPERT
from vla_policy.types import ActionChunk, Array, Observation

MT10 = (
    "reach", "push", "pick-place", "door-open", "drawer-open", "drawer-close", "button-press-topdown",
    "peg-insert-side", "window-open", "window-close",
)  # fmt: skip
IN_A_ROW = 10  # trials of a task of mt50: making its environment takes as long as one
SUITES = {
    "metaworld_mt10": "ten tasks of Meta-World in turn",
    "metaworld_mt50": "fifty tasks of Meta-World, ten trials of each in a row",
    "metaworld_reach": "its task reach",
}
STATE = ("hand.x", "hand.y", "hand.z", "gripper")
ACTIONS = ("hand.dx", "hand.dy", "hand.dz", "gripper")
CAMERA, NEAR = "corner2", "near"
SAWYER = BenchmarkRobot(ROBOT, (CAMERA,), STATE, ACTIONS, by_name=False)
POSES = BenchmarkRobot(
    ROBOT, (CAMERA, NEAR), (*TOOL_POSE, *GRIPPER), (*TOOL_POSE, *GRIPPER), by_name=True
)
STEP_NS = 12_500_000  # five steps of its physics
GOALS = 50  # of each task


class ScriptedSawyer(PlainPolicy):
    """Meta-World's own scripted policy of a task; look() gives it the ground truth."""

    rows = 1

    def __init__(self) -> None:
        self.contract = PlainContract(STATE, ACTIONS)
        self._script: Any = None
        self._seen: Array = np.zeros(0)

    def begin(self, task: str) -> None:
        """Before each trial."""
        from metaworld.policies import ENV_POLICY_MAP

        self._script = ENV_POLICY_MAP[f"{task}-v3"]()

    def look(self, seen: Array) -> None:
        """float64[39], positions of all objects."""
        self._seen = seen

    def infer_chunk(
        self, observation: Observation, previous: ActionChunk | None, options: InferenceOptions
    ) -> ActionChunk:
        """Its next row."""
        row = np.asarray(self._script.get_action(self._seen), np.float64)
        return ActionChunk(
            row[None], ACTIONS, observation.obs_ns, STEP_NS, 0, observation.instruction
        )


class MetaworldTrials:
    """Raises as load_policy, and ValueError for a policy of other columns or cameras."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self.policy: PolicyProtocol = (
            ScriptedSawyer()
            if settings["policy"] == EXPERT
            else load_for((SAWYER, POSES), settings)
        )
        self._tasks: dict[str, tuple[Any, list[Any]]] = {}
        self._sight: tuple[Any, Any] | None = None  # of the last environment

    def unfit(self, suite: str) -> str:
        """Empty: a policy with its columns fits all suites."""
        return ""

    def run(self, suite: str, index: int, measures: Measures | None = None) -> TrialResult:
        """Trial number index; deterministic."""
        names = {"metaworld_mt10": MT10, "metaworld_mt50": MT50}.get(suite, ("reach",))
        if index >= GOALS * len(names):
            raise ValueError(
                f"{suite}: got trial {index}, expected fewer than {GOALS * len(names)}"
            )
        name, goal = _which(names, index, IN_A_ROW if suite == "metaworld_mt50" else 1)
        env, tasks = self._task(name)
        env.set_task(tasks[goal])
        seen, _ = env.reset()
        if self.policy.contract.state_names == POSES.state:
            return self._follow(env, seen, name, index, measures)
        return self._roll_out(env, seen, name, index, measures)

    def _roll_out(
        self, env: Any, seen: Array, name: str, index: int, measures: Measures | None
    ) -> TrialResult:
        policy, words = self.policy, sentence_of(name)
        every = replan_interval_rows(policy.rows, self._settings["execute_rows"])
        if isinstance(policy, ScriptedSawyer):
            policy.begin(name)
        rows: list[Array] = []
        success, steps = False, 0
        while not success and steps < env.max_path_length:
            if not rows:
                if isinstance(policy, ScriptedSawyer):
                    policy.look(seen)
                observation = _observation(policy, env, seen, words, steps)
                rows = self._rows(observation, index + steps, every, measures)
            seen, _, _, _, info = env.step(np.clip(rows.pop(0), -1.0, 1.0))
            success = bool(info["success"])
            steps += 1
            _film(env, steps, measures)
        return _result(index, name, success, steps)

    def _follow(
        self, env: Any, seen: Array, name: str, index: int, measures: Measures | None
    ) -> TrialResult:
        """A policy of poses, each of which Meta-World is sent in several steps."""
        from vla_policy.sim.metaworld import STEPS, SawyerHand, Sight, state_of

        if self._sight is None or self._sight[0] is not env:
            self._sight = env, Sight(env)
        sight, hand, words = self._sight[1], SawyerHand(env), sentence_of(name)
        every = replan_interval_rows(self.policy.rows, self._settings["execute_rows"])
        rows: list[Array] = []
        success, steps = False, 0
        while not success and steps < env.max_path_length:
            if not rows:
                observation = Observation(
                    sight.look(seen[:3]), state_of(seen), POSES.state, words, steps * STEP_NS
                )
                rows = self._rows(observation, index + steps, every, measures)
            row = rows.pop(0)
            for left in range(STEPS, 0, -1):
                seen, _, _, _, info = env.step(hand.action(row[:3], row[7], left))
                success = bool(info["success"])
                steps += 1
                _film(env, steps, measures)
                if success or steps == env.max_path_length:
                    break
        return _result(index, name, success, steps)

    def _rows(
        self, observation: Observation, seed: int, every: int, measures: Measures | None
    ) -> list[Array]:
        options = InferenceOptions(seed=seed, num_steps=self._settings["num_steps"])
        return list(timed_rows(self.policy, observation, options, measures)[:every])

    def _task(self, name: str) -> tuple[Any, list[Any]]:
        """The environment of a task and its goals for the seed. The last ones are kept: fifty need much memory."""
        if name not in self._tasks:
            from vla_policy.sim.metaworld import task_of

            if len(self._tasks) == len(MT10):
                del self._tasks[next(iter(self._tasks))]
            self._tasks[name] = task_of(name, self._settings["seed"])
        return self._tasks[name]


def _which(names: tuple[str, ...], index: int, in_a_row: int) -> tuple[str, int]:
    """Task and goal of a trial: so many goals of each task, then the next ones of each."""
    turn, rest = divmod(index, in_a_row * len(names))
    return names[rest // in_a_row], turn * in_a_row + rest % in_a_row


def _result(index: int, name: str, success: bool, steps: int) -> TrialResult:
    return TrialResult(
        index, sentence_of(name), "metaworld", name, success, "" if success else "not_finished",
        steps * STEP_NS / 1e9, None, None, False, "", {},
    )  # fmt: skip


def _film(env: Any, steps: int, measures: Measures | None) -> None:
    if measures is not None and measures.film_due(steps * STEP_NS):
        measures.frames.append(_picture(env, *FILM_PX))


def _observation(
    policy: PolicyProtocol, env: Any, seen: Array, words: str, steps: int
) -> Observation:
    contract = policy.contract
    side = contract.image_px
    cameras = getattr(contract, "camera_names", (CAMERA,))
    images = {} if isinstance(policy, ScriptedSawyer) else {cameras[0]: _picture(env, side, side)}
    return Observation(images, seen[: len(STATE)], contract.state_names, words, steps * STEP_NS)


def _picture(env: Any, width: int, height: int) -> Array:
    """uint8[height, width, 3] of the camera, which is mounted upside down."""
    picture = np.asarray(env.render())[::-1, ::-1]
    scaled: Array = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return scaled
