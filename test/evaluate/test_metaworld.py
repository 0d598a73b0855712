"""Meta-World's tasks as trials and demonstrations, where the package is installed: in an environment of its own, with MUJOCO_GL=egl or osmesa."""

import os
from importlib.util import find_spec

import numpy as np
import pytest

from vla_policy.data.shards import read_shard
from vla_policy.evaluate.measures import FILM_PX, Measures
from vla_policy.evaluate.metaworld_trials import ACTIONS, GOALS, POSES, STATE, MetaworldTrials
from vla_policy.models.sampling import InferenceOptions
from vla_policy.runtime.policy_protocol import PlainContract, PlainPolicy
from vla_policy.sim.demonstrations.metaworld import _make_shard
from vla_policy.sim.metaworld_tasks import MT50
from vla_policy.types import ActionChunk, Observation

pytestmark = pytest.mark.skipif(
    find_spec("metaworld") is None or os.environ.get("MUJOCO_GL", "disable") == "disable",
    reason="needs `pip install metaworld packaging` in an environment of its own, and MUJOCO_GL=egl",
)
SETTINGS = {"policy": "expert", "seed": 0, "execute_rows": 0, "num_steps": None}


class Still(PlainPolicy):
    """Four rows of nothing; keeps what it saw."""

    rows = 4

    def __init__(self) -> None:
        self.contract = PlainContract(STATE, ACTIONS, 64)
        self.seen: list[Observation] = []

    def infer_chunk(
        self, observation: Observation, previous: ActionChunk | None, options: InferenceOptions
    ) -> ActionChunk:
        self.seen.append(observation)
        return ActionChunk(np.zeros((4, 4)), ACTIONS, observation.obs_ns, 12_500_000, 0, "")


def test_its_own_script_does_its_task_the_same_way_every_time():
    trials = MetaworldTrials(SETTINGS)
    measures = Measures(films=True)
    first = trials.run("metaworld_reach", 1, measures)
    assert first.success and first.instruction == "reach" and 0 < first.seconds < 6
    assert {frame.shape for frame in measures.frames} == {(FILM_PX[1], FILM_PX[0], 3)}
    assert MetaworldTrials(SETTINGS).run("metaworld_reach", 1) == first


def test_a_policy_sees_camera_state_and_words_and_looks_again_after_half_a_chunk():
    trials = MetaworldTrials(SETTINGS)
    trials.policy = policy = Still()
    result = trials.run("metaworld_mt10", 4)
    assert (result.success, result.failure, result.kind) == (False, "not_finished", "drawer-open")
    assert len(policy.seen) == 250
    (image,) = policy.seen[0].images.values()
    assert image.shape == (64, 64, 3) and image.std() > 10
    assert policy.seen[0].state_names == STATE and policy.seen[0].instruction == "drawer open"
    with pytest.raises(ValueError, match="got trial 50, expected fewer than 50"):
        trials.run("metaworld_reach", 50)


class Recorded(PlainPolicy):
    """The positions of a demonstration, row by row; keeps what it saw."""

    rows = 1

    def __init__(self, places: np.ndarray) -> None:
        self.contract = PlainContract(POSES.state, POSES.actions, 64)
        self.places, self.seen = list(places), []

    def infer_chunk(
        self, observation: Observation, previous: ActionChunk | None, options: InferenceOptions
    ) -> ActionChunk:
        self.seen.append(observation)
        row = self.places.pop(0)
        return ActionChunk(row[None], POSES.actions, observation.obs_ns, 50_000_000, 0, "")


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """Two demonstrations of pick-place on the goals of seed 0, the second disturbed."""
    path = tmp_path_factory.mktemp("metaworld") / "shard_00000"
    assert _make_shard((str(path), "pick-place", MT50.index("pick-place"), 0, 2, 0)) == ""
    return read_shard(path)


def test_what_was_recorded_does_the_task_again_from_the_same_images(shard):
    arrays, texts = shard
    first = arrays["episode"] == arrays["episode"][0]
    assert texts[0] == ["pick place"] and len(set(arrays["episode"])) == 2
    state, action = (arrays[name][first] for name in ("state", "action"))
    places = np.concatenate((state[:, :3] + action[:, :3], state[:, 3:7], action[:, 6:7]), 1)
    trials = MetaworldTrials(SETTINGS)
    trials.policy = policy = Recorded(places)
    index = MT50.index("pick-place") * 10
    result = trials.run("metaworld_mt50", index)
    assert (result.success, result.kind, result.instruction) == (True, "pick-place", "pick place")
    assert abs(len(policy.seen) - first.sum()) <= 1
    for camera, name in (("corner2", "front"), ("near", "wrist")):
        assert (policy.seen[0].images[camera] == arrays[name][0]).all()
    # Steps of equal length in a row, where the script's were not: a little beside its way.
    for seen, recorded in zip(policy.seen, state, strict=False):
        assert np.abs(seen.state - recorded)[:3].max() < 0.01
    assert np.abs(state[-1] - state[0])[:3].max() > 0.05


def test_labels_are_where_the_thing_is_drawn():
    """The oracle: what changes in both images when the thing is moved away."""
    from vla_policy.sim.demonstrations.metaworld import label
    from vla_policy.sim.metaworld import Sight, task_of

    env, goals = task_of("push", 0)
    env.set_task(goals[0])
    seen, _ = env.reset()
    sight = Sight(env)
    frame = label(sight, seen)
    place = env.data.qpos[9:12].copy()
    env.data.qpos[9:12] = [0.0, 3.0, 0.0]
    import mujoco

    mujoco.mj_forward(env.model, env.data)
    moved = label(sight, seen)
    assert not np.allclose(place, env.data.qpos[9:12])
    for image, uv in (("front", frame["front_uv"][0, 0]), ("wrist", frame["wrist_uv"][0])):
        changed = np.abs(frame[image].astype(int) - moved[image]).max(-1) > 30
        v, u = np.argwhere(changed).mean(0)
        assert np.abs(np.array([u + 0.5, v + 0.5]) / 64 - uv).max() < 0.05
    assert frame["wrist_visible"].all() and np.isnan(frame["reference_xyz"]).all()


def test_ten_trials_of_each_of_fifty_tasks_and_the_next_goals_after_them():
    from vla_policy.evaluate.metaworld_trials import _which

    tried = [_which(MT50, i, 10) for i in range(GOALS * len(MT50))]
    assert len(set(tried)) == 2500 and len({name for name, _ in tried[:500]}) == 50
    assert {goal for _, goal in tried[:500]} == set(range(10))
    assert tried[500] == (MT50[0], 10)
