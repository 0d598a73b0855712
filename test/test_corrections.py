"""Corrections: what the expert does from where a late chunk begins to count, in the simulation itself."""

from itertools import pairwise

import numpy as np
import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.evaluate.corrections import DELAYS_MS, correct
from vla_policy.policy import load_policy
from vla_policy.sim.expert import MAX_STEP_M
from vla_policy.sim.world import World

SEED = 500_003


@pytest.fixture(scope="module")
def frames():
    policy, robot = load_policy("tiny", head="flow"), load_embodiment("vx300s")
    recorded, texts = [], []
    worlds = [World(renderer="raycast") for _ in range(2)]
    number = DELAYS_MS.index(300)
    rng = np.random.default_rng(0)
    correct(policy, *worlds, robot, SEED, number, rng, recorded, texts)
    assert len(recorded) == len(texts) > 2
    return recorded


def places(frame):
    """Where the tool is after each row, float64[t, 3]."""
    return frame["state"][:3] + frame["chunk"][:, 1:4].cumsum(0)


def test_the_rows_under_way_are_those_of_the_plan_before(frames):
    assert frames[0]["known"] == 0
    assert {int(f["known"]) for f in frames[2:]} == {3}  # rows begun within 0.3 s
    # An arm that pursues its plan is, at the next look, where the rows before said.
    for frame, later in pairwise(frames[2:]):
        error = np.linalg.norm(places(frame) - later["state"][:3], axis=1)
        assert error[:8].min() < 0.02


def test_after_them_the_expert_shows_the_way(frames):
    for frame in frames:
        known = int(frame["known"])
        steps = np.linalg.norm(frame["chunk"][known:, 1:4], axis=1)
        # The first one also makes up for what arm and plan differ by.
        assert (steps[1:] < 1.1 * MAX_STEP_M).all()
        assert frame["chunk"].shape == (10, 8) and np.isfinite(frame["chunk"]).all()
        assert set(np.unique(frame["chunk"][:, 0])) <= {0.0, 1.0}
        assert (frame["chunk"][:known, 0] == 0).all()
    ends = [places(frame)[-1] for frame in frames[:3]]
    target = frames[0]["target_xyz"][0]
    start = np.linalg.norm(frames[0]["state"][:2] - target[:2])
    assert all(np.linalg.norm(end[:2] - target[:2]) < max(0.06, start) for end in ends)
