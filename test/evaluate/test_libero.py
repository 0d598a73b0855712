"""LIBERO's tasks as trials, on a stand-in with the calls of hf-libero 0.1.4; the package itself fetches its meshes from a hub."""

import json
import re
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import ClassVar, NamedTuple
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch
import yaml
from pi0_folders import characters, copied
from safetensors.torch import load_file, save_file

from vla_policy import policy as policies
from vla_policy.cli import main
from vla_policy.evaluate import libero_trials
from vla_policy.evaluate.benchmark_policy import load_for
from vla_policy.evaluate.libero_trials import ACTIONS, CAMERAS, PANDA, STATE, STEP_NS, LiberoTrials
from vla_policy.evaluate.measures import FILM_PX, Measures
from vla_policy.models.sampling import InferenceOptions
from vla_policy.runtime.policy_protocol import PlainPolicy
from vla_policy.types import ActionChunk, Observation

SETTINGS = {"policy": "tiny", "head": None, "device": "cpu", "seed": 3, "execute_rows": 0, "num_steps": None}  # fmt: skip
TILTED = np.array([0.99980002, 0.0, 0.0, -0.019998667])  # xyzw, a little more than half a turn
DOCUMENT = Path(__file__).parents[2] / "docs" / "compare.md"
TASKS, STATES, FAR_M = 10, 50, 0.0995


class Task(NamedTuple):
    name: str
    language: str
    problem: str
    problem_folder: str
    bddl_file: str
    init_states_file: str


class Suite:
    """A benchmark of ten tasks with fifty initial states each."""

    n_tasks = TASKS

    def get_task(self, i):
        return Task(
            f"task_{i}", f"do task {i}", "Libero", "folder", f"{i}.bddl", f"{i}.pruned_init"
        )

    def get_task_bddl_file_path(self, i):
        return f"/libero/folder/{i}.bddl"

    def get_task_init_states(self, i):
        return np.arange(STATES, dtype=np.float64)[:, None] * np.ones((STATES, 4))


class Env:
    """A hand on a line: done once it is FAR_M away. calls: of all environments, in order."""

    calls: ClassVar[list] = []
    open = 0

    def __init__(self, *, bddl_file_name, camera_names, camera_heights, camera_widths):
        self.file, self.names = bddl_file_name, camera_names
        self.h, self.w = camera_heights, camera_widths
        self.done = True  # until it is reset
        Env.open += 1

    def seed(self, seed):
        self.calls.append(("seed", seed))

    def reset(self):
        self.calls.append(("reset", self.file))
        self.x, self.done = 0.0, False
        return self._seen()

    def set_init_state(self, init_state):
        self.calls.append(("state", init_state[0]))
        self.x = init_state[0] * 1e-4
        return self._seen()

    def step(self, action):
        assert not self.done, "a step after the end"
        assert np.shape(action) == (7,) and np.abs(action).max() <= 1.0
        self.calls.append(("step", tuple(action)))
        self.x += action[0] * 0.01
        self.done = self.x > FAR_M
        return self._seen(), float(self.done), self.done, {}

    def close(self):
        Env.open -= 1

    def _seen(self):
        image = np.zeros((self.h, self.w, 3), np.uint8)
        image[0, 0] = 200  # upside down: it belongs to the lower right
        return {
            **{f"{name}_image": image for name in self.names},
            "robot0_eef_pos": np.array([self.x, 0.0, 1.0]),
            "robot0_eef_quat": TILTED.copy(),
            "robot0_gripper_qpos": np.array([0.04, -0.04]),
        }


@dataclass(frozen=True)
class Contract:
    camera_names: tuple[str, ...] = CAMERAS
    state_names: tuple[str, ...] = STATE
    action_names: tuple[str, ...] = ACTIONS
    image_px: int = 224


class Steady(PlainPolicy):
    """Four rows of one step along the line; keeps what it saw."""

    rows = 4

    def __init__(self, step: float = 2.0, contract: Contract = Contract()) -> None:
        self.contract, self.step = contract, step
        self.seen: list[Observation] = []

    def infer_chunk(
        self, observation: Observation, previous: ActionChunk | None, options: InferenceOptions
    ) -> ActionChunk:
        self.seen.append(observation)
        rows = np.zeros((4, len(ACTIONS)))
        rows[:, 0] = self.step
        return ActionChunk(rows, ACTIONS, observation.obs_ns, STEP_NS, 0, "")


@pytest.fixture
def libero(monkeypatch, tmp_path):
    """The package as far as it is used, asked and answered."""
    names = ("libero", "libero.libero", "libero.libero.benchmark", "libero.libero.envs")
    modules = {name: ModuleType(name) for name in names}
    for name, module in modules.items():
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        monkeypatch.setitem(sys.modules, name, module)
    modules["libero.libero"].benchmark = modules["libero.libero.benchmark"]
    modules["libero.libero.benchmark"].get_benchmark_dict = lambda help=False: dict.fromkeys(
        libero_trials.SUITES, Suite
    )
    modules["libero.libero.envs"].OffScreenRenderEnv = Env
    monkeypatch.setattr(Env, "calls", [])
    monkeypatch.setattr(Env, "open", 0)
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(tmp_path / "config"))
    monkeypatch.setenv("MUJOCO_GL", "egl")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("benchmark_root: /libero\n")


@pytest.fixture
def trials(libero, monkeypatch):
    """policy -> its trials."""

    def of(policy):
        monkeypatch.setattr(
            libero_trials, "load_for", create_autospec(load_for, return_value=policy)
        )
        return LiberoTrials(SETTINGS)

    return of


def test_what_lacks_is_told_with_the_command_that_brings_it(libero, monkeypatch, tmp_path, capsys):
    assert libero_trials.missing() == ""
    monkeypatch.setenv("MUJOCO_GL", "disable")
    assert "set MUJOCO_GL=egl, or osmesa" in libero_trials.missing()
    (tmp_path / "config" / "config.yaml").unlink()
    assert "echo N | python -c 'import libero.libero'" in libero_trials.missing()
    for name in [name for name in sys.modules if name.partition(".")[0] == "libero"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(libero_trials, "find_spec", lambda name: None)
    words = ["--suite", "libero_goal", "--robot", "libero_panda", "--policy", "tiny"]
    assert main(["compare", "--out", str(tmp_path / "out"), *words]) == 1
    said = capsys.readouterr().err
    assert "'libero_goal', which cannot be run here: the package libero is not installed" in said
    assert "pip install hf-libero" in said and not (tmp_path / "out").exists()


def test_a_trial_settles_sees_and_moves_as_the_published_ones(trials):
    policy = Steady()
    measures = Measures(films=True)
    result = trials(policy).run("libero_spatial", 2 * TASKS + 7, measures)
    assert (result.success, result.failure, result.kind) == (True, "", "task_7")
    assert result.instruction == "do task 7" and result.seconds == pytest.approx(0.5)
    assert Env.calls[:3] == [("seed", 3), ("reset", "/libero/folder/7.bddl"), ("state", 2.0)]
    steps = [action for what, action in Env.calls if what == "step"]
    assert steps[:10] == [(0, 0, 0, 0, 0, 0, -1)] * 10
    assert steps[10:] == [(1, 0, 0, 0, 0, 0, 0)] * 10  # of 2.0, which it does not take
    first = policy.seen[0]
    assert first.state_names == STATE and first.instruction == "do task 7" and first.obs_ns == 0
    turn = first.state[3]
    assert np.pi < turn < np.pi + 0.1 and first.state[4] == first.state[5] == 0
    assert first.state[[0, 2, 6, 7]] == pytest.approx([2e-4, 1.0, 0.04, -0.04])
    for name in CAMERAS:
        assert first.images[name].shape == (256, 256, 3)
        assert first.images[name][-1, -1].min() == 200 and first.images[name].sum() == 600
    assert [seen.obs_ns for seen in policy.seen] == [2 * k * STEP_NS for k in range(5)]
    assert {frame.shape for frame in measures.frames} == {(FILM_PX[1], FILM_PX[0], 3)}
    assert len(measures.to_dict()["chunk_ms"]) == 5


def test_trials_are_the_same_in_any_order_and_one_scene_is_open_at_a_time(trials):
    forth, back = trials(Steady(0.4)), trials(Steady(0.4))
    there = [forth.run("libero_object", index) for index in (0, 1, 10)]
    assert [back.run("libero_object", index) for index in (10, 1, 0)] == there[::-1]
    assert Env.open == 2  # one of each
    assert forth.run("libero_object", 499).kind == "task_9"
    with pytest.raises(ValueError, match="libero_object: got trial 500, expected fewer than 500"):
        forth.run("libero_object", 500)


@pytest.mark.parametrize(("suite", "steps"), libero_trials.MAX_STEPS.items())
def test_a_trial_ends_after_the_steps_of_its_suite(suite, steps, trials):
    result = trials(Steady(0.0)).run(suite, 0)
    assert (result.success, result.failure) == (False, "not_finished")
    assert result.seconds == pytest.approx(steps / 20)
    assert [what for what, _ in Env.calls].count("step") == 10 + steps


def test_the_expert_and_other_columns_are_refused(libero, monkeypatch):
    with pytest.raises(ValueError, match="LIBERO has no scripted expert"):
        LiberoTrials({**SETTINGS, "policy": "expert"})
    for contract, said in (
        (Contract(camera_names=("image",)), "got 1 cameras .image., 8 columns of state and 7"),
        (Contract(state_names=STATE[:7]), "7 columns of state"),
        (Contract(camera_names=()), "got 0 cameras .none."),
    ):
        monkeypatch.setattr(policies, "load_policy", lambda *_, c=contract, **__: Steady(contract=c))  # fmt: skip
        with pytest.raises(
            ValueError, match=rf"policy 'tiny': .*{said}.*cameras among agentview, "
        ):
            LiberoTrials(SETTINGS)
    one = Steady(contract=Contract(camera_names=("agentview",)))
    monkeypatch.setattr(policies, "load_policy", lambda *_, **__: one)
    assert load_for((PANDA,), SETTINGS) is one


def test_the_policy_file_of_the_document_fits_a_checkpoint_of_its_data(libero, tmp_path):
    folder = copied(tmp_path, "pi0")
    config = json.loads((folder / "config.json").read_text())
    pixels = config["input_features"]["observation.images.base"]
    config["input_features"] = {
        "observation.images.image": pixels, "observation.images.image2": pixels,
        "observation.state": {"type": "STATE", "shape": [8]},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    for path in folder.glob("policy_*.safetensors"):
        kept = load_file(path)
        save_file(
            {k: torch.cat((v, v[-1:])) if "state" in k else v for k, v in kept.items()}, path
        )
    told = re.search(r"```yaml\n(cameras: \{image: agentview.*?)```", DOCUMENT.read_text(), re.S)[
        1
    ]
    own = {"checkpoint": str(folder), "tokenizer": str(characters(tmp_path / "tokenizer.json"))}
    own["heads"] = {"language": 8, "kv": 1, "vision": 4}
    path = tmp_path / "my_libero.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(told) | own))
    policy = load_for((PANDA,), {**SETTINGS, "policy": str(path)})
    env = Env(bddl_file_name="", camera_names=CAMERAS, camera_heights=256, camera_widths=256)
    seen = libero_trials.observation_of(policy, env.reset(), "put it there", 0)
    chunk = policy.infer_chunk(seen, None, InferenceOptions(seed=0))
    assert set(seen.images) == set(CAMERAS) and chunk.names == ACTIONS
    assert chunk.actions.shape == (8, 7) and np.isfinite(chunk.actions).all()
    assert chunk.step_ns == STEP_NS


def test_meshes_that_do_not_come_are_told(trials, monkeypatch):
    def without_meshes(**given):
        raise FileNotFoundError("assets/table.xml")

    monkeypatch.setattr(sys.modules["libero.libero.envs"], "OffScreenRenderEnv", without_meshes)
    with pytest.raises(OSError, match=r"fetches from the Hugging Face Hub.*assets/table.xml"):
        trials(Steady()).run("libero_goal", 0)


def test_a_comparison_has_it_and_tells_what_it_lacks(trials, monkeypatch, capsys, tmp_path):
    trials(Steady())
    monkeypatch.chdir(tmp_path)
    words = ["--policy", "tiny,expert", "--robot", "libero_panda", "--suite", "libero_goal"]
    assert main(["compare", *words, "--episodes", "2", "--workers", "0", "--out", "out"]) == 1
    assert "'expert', which can be asked nothing of this: libero_goal" in capsys.readouterr().err
    words[1] = "tiny"
    assert main(["compare", *words, "--episodes", "2", "--workers", "0", "--out", "new"]) == 0
    found = json.loads(Path("new/report.json").read_text())
    (result,) = found["results"]
    assert (result["successes"], result["trials"]) == (2, 2)
    assert result["guarded"] is None and result["chunks"] == 9  # the first is not timed
