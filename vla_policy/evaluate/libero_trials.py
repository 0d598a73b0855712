"""LIBERO (optional package `libero`) as suites: its tasks, initial states and physics, its verdict.

Two cameras, eight columns of state, seven commands between -1 and 1: six steps of the hand and its gripper, of which -1
opens. A policy's rows are sent unchanged, one per step: without guard or delay. Images are turned by 180 degrees, objects
are given ten steps to settle, and a trial ends after as many steps as in published figures.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vla_policy.evaluate.benchmark_policy import BenchmarkRobot, load_for, timed_rows
from vla_policy.evaluate.measures import FILM_PX, Measures
from vla_policy.evaluate.rollout import TrialResult
from vla_policy.execution.replanning import replan_interval_rows
from vla_policy.models.sampling import InferenceOptions
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.sim.twin import EXPERT
from vla_policy.types import Array, Observation

ROBOT = "libero_panda"
SUITES = {
    "libero_spatial": "ten tasks of LIBERO in turn: the same objects in other places",
    "libero_object": "ten tasks of LIBERO in turn: other objects",
    "libero_goal": "ten tasks of LIBERO in turn: other goals on one table",
    "libero_10": "ten long tasks of LIBERO in turn",
}
# Of a trial. Source: openpi's and OpenVLA's evaluations, a little more than the longest demonstration of each suite.
MAX_STEPS = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520}
CAMERAS = ("agentview", "robot0_eye_in_hand")
STATE = (
    "hand.x", "hand.y", "hand.z", "hand.rx", "hand.ry", "hand.rz", "finger.left", "finger.right",
)  # fmt: skip
ACTIONS = ("hand.dx", "hand.dy", "hand.dz", "hand.drx", "hand.dry", "hand.drz", "gripper")
PANDA = BenchmarkRobot(ROBOT, CAMERAS, STATE, ACTIONS, by_name=True)
IMAGE_PX = 256  # of the images in its training data; a policy makes them smaller its own way
STEP_NS = 50_000_000
SETTLE_STEPS = 10
STANDS = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
STRAIGHT = 1e-6  # half of an angle below which it is no rotation


def missing() -> str:
    """What LIBERO lacks here and how to get it, as text; empty if nothing."""
    if find_spec("libero") is None:
        return (
            "the package libero is not installed; it asks for a robosuite of its own: make an environment for it, "
            "`pip install hf-libero`, and install this package there"
        )
    folder = Path(os.environ.get("LIBERO_CONFIG_PATH", "~/.libero")).expanduser()
    if not (folder / "config.yaml").is_file():
        return (
            f"{folder / 'config.yaml'} is not there, and LIBERO asks a question when it writes it: "
            "`echo N | python -c 'import libero.libero'`"
        )
    drawn = os.environ.get("MUJOCO_GL", "disable") != "disable"
    return "" if drawn else "its cameras need OpenGL: set MUJOCO_GL=egl, or osmesa"


class LiberoTrials:
    """Raises as load_policy, and ValueError for the expert, which LIBERO lacks, and for other columns or cameras."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        if settings["policy"] == EXPERT:
            raise ValueError("LIBERO has no scripted expert")
        self._settings = settings
        self.policy: PolicyProtocol = load_for((PANDA,), settings)
        self._suites: dict[str, Any] = {}
        self._env: Any = None  # one at a time: each has an OpenGL context
        self._of = ("", -1)

    def unfit(self, suite: str) -> str:
        """Empty: a policy with its columns fits all suites."""
        return ""

    def run(self, suite: str, index: int, measures: Measures | None = None) -> TrialResult:
        """Trial number index: its tasks in turn, each from its initial states in order; deterministic."""
        tasks = self._suite(suite)
        number, state = index % tasks.n_tasks, index // tasks.n_tasks
        states = tasks.get_task_init_states(number)
        if state >= len(states):
            raise ValueError(
                f"{suite}: got trial {index}, expected fewer than {len(states) * tasks.n_tasks}"
            )
        env = self._task(suite, number)
        env.seed(self._settings["seed"])  # the things that do not move are placed by it
        env.reset()
        seen = env.set_init_state(states[state])
        for _ in range(SETTLE_STEPS):
            seen, *_ = env.step(STANDS)
        return self._roll_out(env, seen, suite, tasks.get_task(number), index, measures)

    def _roll_out(
        self, env: Any, seen: Any, suite: str, task: Any, index: int, measures: Measures | None
    ) -> TrialResult:
        policy, words = self.policy, str(task.language)
        every = replan_interval_rows(policy.rows, self._settings["execute_rows"])
        rows: list[Array] = []
        success, steps = False, 0
        while not success and steps < MAX_STEPS[suite]:
            if not rows:
                observation = observation_of(policy, seen, words, steps * STEP_NS)
                options = InferenceOptions(
                    seed=index + steps, num_steps=self._settings["num_steps"]
                )
                rows = list(timed_rows(policy, observation, options, measures)[:every])
            seen, _, success, _ = env.step(np.clip(rows.pop(0), -1.0, 1.0))
            steps += 1
            if measures is not None and measures.film_due(steps * STEP_NS):
                frame = cv2.resize(
                    _turned(seen, CAMERAS[0]), FILM_PX, interpolation=cv2.INTER_AREA
                )
                measures.frames.append(frame)
        return TrialResult(
            index, words, suite, str(task.name), bool(success), "" if success else "not_finished",
            steps * STEP_NS / 1e9, None, None, False, "", {},
        )  # fmt: skip

    def _suite(self, suite: str) -> Any:
        if suite not in self._suites:
            from libero.libero import benchmark

            self._suites[suite] = benchmark.get_benchmark_dict()[suite]()
        return self._suites[suite]

    def _task(self, suite: str, number: int) -> Any:
        """The environment of a task."""
        if self._of != (suite, number):
            from libero.libero.envs import OffScreenRenderEnv

            if self._env is not None:
                self._env.close()
                self._env, self._of = None, ("", -1)
            try:
                self._env = OffScreenRenderEnv(
                    bddl_file_name=self._suite(suite).get_task_bddl_file_path(number),
                    camera_names=list(CAMERAS),
                    camera_heights=IMAGE_PX,
                    camera_widths=IMAGE_PX,
                )
            except OSError as error:
                raise OSError(
                    f"{suite}: no scene, whose meshes LIBERO fetches from the Hugging Face Hub the first time: {error}"
                ) from error
            self._of = suite, number
        return self._env


def observation_of(
    policy: PolicyProtocol, seen: Mapping[str, Array], words: str, now_ns: int
) -> Observation:
    """What LIBERO shows and measures, as its training data have it."""
    contract = policy.contract
    names = getattr(contract, "camera_names", CAMERAS)
    turn = rotation_vector(seen["robot0_eef_quat"])
    state = np.concatenate((seen["robot0_eef_pos"], turn, seen["robot0_gripper_qpos"]))
    images = {name: _turned(seen, name) for name in names}
    return Observation(images, state, contract.state_names, words, now_ns)


def rotation_vector(quaternion: Array) -> Array:
    """float64[3] of float64[4] xyzw, rad, with an angle of up to 2 pi.

    Unlike geometry's, which takes the shorter way: the hand looks down, at an angle near pi, on either side of which its
    training data have the same sign.
    """
    half = np.arccos(np.clip(quaternion[3], -1.0, 1.0))
    sine = np.sin(half)
    return np.zeros(3) if sine < STRAIGHT else np.asarray(quaternion[:3]) * (2.0 * half / sine)


def _turned(seen: Mapping[str, Array], camera: str) -> Array:
    """uint8[h, w, 3] of a camera, turned by 180 degrees as in its training data."""
    return np.ascontiguousarray(seen[f"{camera}_image"][::-1, ::-1])
