"""Meta-World (optional package `metaworld`) as suites: its tasks, its physics, its verdict.

One camera, the gripper's position and opening, four commands between -1 and 1: three steps of the
gripper and its effort. A policy's rows are sent unchanged, one per step: without guard or delay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from vla_policy.evaluate.benchmark_policy import BenchmarkRobot, load_for, timed_rows
from vla_policy.evaluate.measures import FILM_PX, Measures
from vla_policy.evaluate.rollout import TrialResult
from vla_policy.execution.replanning import replan_interval_rows
from vla_policy.models.sampling import InferenceOptions
from vla_policy.runtime.policy_protocol import PlainContract, PlainPolicy, PolicyProtocol
from vla_policy.sim.twin import EXPERT
from vla_policy.types import ActionChunk, Array, Observation

ROBOT = "metaworld_sawyer"
MT10 = (
    "reach", "push", "pick-place", "door-open", "drawer-open", "drawer-close", "button-press-topdown",
    "peg-insert-side", "window-open", "window-close",
)  # fmt: skip
SUITES = {"metaworld_mt10": "ten tasks of Meta-World in turn", "metaworld_reach": "its task reach"}
STATE = ("hand.x", "hand.y", "hand.z", "gripper")
ACTIONS = ("hand.dx", "hand.dy", "hand.dz", "gripper")
CAMERA = "corner2"
CAMERA_XYZ = (0.75, 0.075, 0.7)  # its position in the training data of most policies
SAWYER = BenchmarkRobot(ROBOT, (CAMERA,), STATE, ACTIONS, by_name=False)
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
            ScriptedSawyer() if settings["policy"] == EXPERT else load_for(SAWYER, settings)
        )
        self._tasks: dict[str, tuple[Any, list[Any]]] = {}

    def unfit(self, suite: str) -> str:
        """Empty: a policy with its columns fits all suites."""
        return ""

    def run(self, suite: str, index: int, measures: Measures | None = None) -> TrialResult:
        """Trial number index; deterministic."""
        names = MT10 if suite == "metaworld_mt10" else ("reach",)
        name, goal = names[index % len(names)], index // len(names)
        if goal >= GOALS:
            raise ValueError(
                f"{suite}: got trial {index}, expected fewer than {GOALS * len(names)}"
            )
        env, tasks = self._task(name)
        env.set_task(tasks[goal])
        seen, _ = env.reset()
        return self._roll_out(env, seen, name, index, measures)

    def _roll_out(
        self, env: Any, seen: Array, name: str, index: int, measures: Measures | None
    ) -> TrialResult:
        policy, words = self.policy, name.replace("-", " ")
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
                options = InferenceOptions(
                    seed=index + steps, num_steps=self._settings["num_steps"]
                )
                rows = list(timed_rows(policy, observation, options, measures)[:every])
            seen, _, _, _, info = env.step(np.clip(rows.pop(0), -1.0, 1.0))
            success = bool(info["success"])
            steps += 1
            if measures is not None and measures.film_due(steps * STEP_NS):
                measures.frames.append(_picture(env, *FILM_PX))
        return TrialResult(
            index, words, "metaworld", name, success, "" if success else "not_finished",
            steps * STEP_NS / 1e9, None, None, False, "", {},
        )  # fmt: skip

    def _task(self, name: str) -> tuple[Any, list[Any]]:
        """The environment of a task and its goals for the seed."""
        if name not in self._tasks:
            import metaworld

            benchmark = metaworld.MT1(f"{name}-v3", seed=self._settings["seed"])
            env = benchmark.train_classes[f"{name}-v3"](
                render_mode="rgb_array", camera_name=CAMERA
            )
            env.model.camera(CAMERA).pos[:] = CAMERA_XYZ
            self._tasks[name] = env, benchmark.train_tasks
        return self._tasks[name]


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
