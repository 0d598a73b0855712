"""A recorded episode as chunks: the same numbers at the same times, only from where it began."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from vla_policy.data.replay import chunk_at, replay_of, too_far
from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.geometry.quaternions import rotvec_to_quaternion

ROBOT = load_embodiment("vx300s")
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
NAMES = layout_of(ROBOT).names
STEP_NS = ROBOT.step_ns


def actions(count, fps):
    """x goes on by 0.1 m/s and the tool turns by 0.2 rad/s; the gripper closes half way."""
    times = np.arange(1, count + 1) / fps
    rows = np.zeros((count, 8))
    rows[:, 0] = 0.3 + 0.1 * times
    rows[:, 2] = 0.2
    rows[:, 3:7] = rotvec_to_quaternion(np.stack([0 * times, 0 * times, 0.2 * times], axis=1))
    rows[:, 7] = times > count / fps / 2
    return rows


@pytest.mark.parametrize("fps", [10, 20, 30, 50])
def test_rows_are_reached_when_they_were_commanded(fps):
    replay = replay_of(actions(2 * fps, fps), NAMES, fps, ROBOT, "episode 0")
    assert replay.seconds == pytest.approx(2.0)
    expected = actions(20, 10)
    assert replay.rows[:, :3] == pytest.approx(expected[:, :3], abs=1e-9)
    assert replay.rows[:, 3:7] == pytest.approx(expected[:, 3:7], abs=1e-6)
    assert set(replay.rows[:, 7]) == {0.0, 1.0}


def test_chunks_follow_each_other_and_end_with_the_episode():
    replay = replay_of(actions(20, 10), NAMES, 10, ROBOT, "episode 0")
    start_ns, sequence, seen = 7 * 10**9, 0, {}
    for now_ns in range(start_ns, start_ns + 3 * 10**9, 250_000_000):
        chunk = chunk_at(replay, start_ns, now_ns, sequence)
        if chunk is None:
            break
        assert chunk.continues == (sequence - 1 if sequence else None)
        assert chunk.obs_ns <= now_ns < chunk.obs_ns + STEP_NS
        for k, row in enumerate(chunk.actions):
            seen.setdefault(chunk.obs_ns + k * STEP_NS, row[0])
            assert seen[chunk.obs_ns + k * STEP_NS] == row[0]
        sequence += 1
    assert chunk is None and len(seen) == 20
    assert list(seen.values()) == pytest.approx(list(actions(20, 10)[:, 0]))


def test_it_begins_only_near_its_first_action_and_says_how_far_the_robot_is():
    replay = replay_of(actions(20, 10), NAMES, 10, ROBOT, "episode 3")
    here = np.array(replay.rows[0])
    assert too_far(replay, here) is None
    here[1] += 0.1
    assert too_far(replay, here).startswith("episode 3: its first action is ")
    assert "0.1" in too_far(replay, here)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: (a[:, :7], NAMES[:7]), "got the columns ee.x"),
        (lambda a: (a[:1], NAMES), "got 1 actions, expected at least 2"),
        (lambda a: (np.where(a > 0.35, np.nan, a), NAMES), "all finite"),
        (lambda a: (a * 1.5, NAMES), "expected norm 1"),
    ],
)
def test_what_is_not_of_this_robot_is_refused(change, said):
    values, names = change(actions(20, 10))
    with pytest.raises(ValueError, match="episode 0: ") as error:
        replay_of(values, names, 10, ROBOT, "episode 0")
    assert said in str(error.value)


def test_a_demonstration_of_the_twin_succeeds_again():
    pytest.importorskip("mujoco", reason="the twin needs MuJoCo; `make test` has it")
    figures = runpy.run_path(str(BENCHMARKS / "replay.py"))["measure"](1)
    assert (figures["demonstrations"], figures["succeeded_again"]) == (1, 1)
