"""Cameras that changed places, where scenes differ from episode to episode, and cameras that look alike."""

import numpy as np
import pytest

from vla_policy.data.checks.episode_data import CameraSummary, EpisodeReport
from vla_policy.data.checks.swapped import check_swapped

SHAPE = (24, 32, 3)


def reports(episodes: int, cameras=3, *, alike=(), scene=25.0, exchanged=None, seed=0):
    """Each camera has a view of its own and, in every episode, something else in front of it."""
    rng = np.random.default_rng(seed)
    views = rng.uniform(40, 200, (cameras, *SHAPE))
    for camera in alike:
        views[camera] = views[alike[0]]
    for episode in range(episodes):
        images = views + rng.normal(0, scene, views.shape)
        if exchanged and episode in exchanged:
            a, b = exchanged[episode]
            images[[a, b]] = images[[b, a]]
        yield EpisodeReport(
            episode,
            (),
            20,
            cameras={
                f"camera{i}": CameraSummary(m.astype(np.float32), 30.0, 20, (48, 64))
                for i, m in enumerate(images)
            },
        )


@pytest.mark.parametrize("episodes", [2, 3, 5, 30])
def test_cameras_in_their_places(episodes):
    assert list(check_swapped(list(reports(episodes)))) == []


@pytest.mark.parametrize("episodes", [3, 5, 30])
def test_two_of_three_are_exchanged_in_one_episode(episodes):
    (only,) = check_swapped(list(reports(episodes, exchanged={2: (0, 2)})))
    assert (only.level, only.episode, only.frame) == ("error", 2, 0)
    assert "camera0 and camera2" in only.says


def test_several_episodes_may_be_exchanged():
    made = list(reports(20, exchanged={3: (0, 1), 11: (1, 2), 19: (0, 1)}))
    assert [f.episode for f in check_swapped(made)] == [3, 11, 19]


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_said_of_cameras_that_look_alike(seed):
    made = list(reports(12, alike=(0, 1), scene=40.0, seed=seed))
    assert list(check_swapped(made)) == []
