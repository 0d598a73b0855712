"""The observer of benchmarks/observe_motion.py: clean where the code is sound, alarmed where it is broken.

A million ticks and every seeded fault are commands of their own; these are the first seconds of them.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "vla_policy.msg",
    reason="drives the control node's own code: `make test`, which has ROS, runs it",
)
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from observer import adapter, faults, robots, run
from observer.controllers import Channel
from observer.world import World


@pytest.fixture(scope="module", autouse=True)
def the_product_as_it_was():
    """After these tests: the observer's node has clocks and messages of its own."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in adapter.STAND_INS]
    yield
    for owner, name, value in before:
        setattr(owner, name, value)


MS = 1_000_000
# Two scenarios of every robot.
CLEAN = (
    0,
    1,
    2,
    4,
    5,
    7,
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    17,
    19,
    20,
    21,
    24,
    25,
    26,
    28,
    29,
    30,
    31,
    34,
    35,
    36,
    37,
    38,
    39,
    40,
    41,
    43,
    44,
    51,
    54,
    56,
    57,
    75,
    80,
    88,
    93,
)


def test_a_trajectory_replaces_the_running_one_from_where_it_is_played():
    channel = Channel(np.zeros(1))
    points, rates = np.array([[1.0], [1.0]]), np.zeros((2, 1))
    assert channel.trajectory(0, 0, [1000 * MS, 2000 * MS], points, rates) is None
    half, speed = channel.at(500 * MS)
    np.testing.assert_allclose((half, speed), ([0.5], [1.5]))
    assert channel.trajectory(500 * MS, 0, [1000 * MS, 2000 * MS], points * 0.0, rates) is None
    again, speed_again = channel.at(500 * MS)
    np.testing.assert_allclose((again, speed_again), (half, speed))
    np.testing.assert_allclose(channel.at(1500 * MS)[0], [0.0], atol=1e-12)


def test_controllers_refuse_what_does_not_end_at_rest_or_has_ended():
    channel = Channel(np.zeros(1))
    points = np.array([[1.0], [1.0]])
    moving = np.array([[1.0], [0.1]])
    assert "velocity" in channel.trajectory(0, 0, [10 * MS, 20 * MS], points, moving)
    still = np.zeros((2, 1))
    assert "past" in channel.trajectory(900 * MS, 5 * MS, [10 * MS, 20 * MS], points, still)
    assert "increase" in channel.trajectory(0, 0, [10 * MS, 10 * MS], points, still)


def test_a_velocity_ends_by_itself_and_a_setpoint_stands():
    wheels, arm = Channel(np.zeros(6)), Channel(np.zeros(2))
    wheels.drive(0, np.array([1.0, 0, 0, 0, 0, 0]), 100 * MS)
    assert wheels.at(50 * MS)[1][0] == 1.0
    np.testing.assert_allclose(wheels.at(500 * MS)[0][0], 0.1)
    assert wheels.at(500 * MS)[1][0] == 0.0
    arm.step(0, np.ones(2), 20 * MS)
    np.testing.assert_allclose(arm.at(30 * MS)[0], np.ones(2))


def test_a_scenario_is_the_same_every_time():
    first, again = run.one(0, 0), run.one(0, 0)
    assert [s.values.tolist() for s in first[1].sent["left_arm"]] == [
        s.values.tolist() for s in again[1].sent["left_arm"]
    ]
    assert first[3] == again[3]


@pytest.mark.parametrize("number", CLEAN)
def test_nothing_unsafe_is_played(number):
    """400 ticks each. Every robot is among them."""
    _, _, account, found = run.one(number, 0)
    assert account.ticks >= 400
    assert found == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "joints may be twice as fast",
        "the acceleration of velocities is not limited",
        "ranges and workspaces are not looked at",
        "a stop stops nothing",
        "nothing empties the plan",
        "stale inputs are not noticed",
        "trajectories are four times too short",
        "the last message repeats the last position",
    ],
)
def test_a_seeded_fault_is_seen_soon(name):
    fault = next(f for f in faults.FAULTS if f.name == name)
    result = faults.seen(fault, 0, 60, {})
    assert result["seen"], result


def test_what_is_planted_is_taken_back():
    from vla_policy.safety import guard

    before = guard.step_problem
    fault = next(f for f in faults.FAULTS if f.name == "the step is not checked again")
    with faults.planted(fault):
        assert guard.step_problem is not before
    assert guard.step_problem is before


def test_every_shipped_robot_is_among_the_scenarios():
    assert {path.stem for path in robots.SHIPPED.glob("*.yaml")} <= set(run.known()[0])


def test_the_tick_that_hears_of_another_controller_begins_nothing():
    """A velocity was begun in it, and only then let go."""
    described = run.known()[0]["mobile_twist"]
    base = next(g for g in described.groups if g.kind == "base")
    hand = next(g for g in described.groups if g.kind == "hand")
    start = {g.name: np.zeros(7 if g.kind == "tool" else 6) for g in described.groups}
    start[hand.name] = np.array([0.5])
    world = World(described, start, 0)
    node = adapter.Node(
        described.file, world.hear, scheme="receding", change="flush", now_ns=10**9,
        wait=lambda ns: None,
    )  # fmt: skip
    node.activate()

    def tick(now_ns):
        joints, poses, openings = world.measured(0, np.random.default_rng(0), 0.0)
        poses = {tool: np.array([0.4, 0.0, 0.3, 0.0, 0.0, 0.0, 1.0]) for tool in poses}
        cameras = dict.fromkeys(described.cameras, now_ns)
        node.see(adapter.Seen(joints, now_ns, poses, now_ns, openings, cameras))
        node.tick(now_ns)

    tick(10**9)
    assert node.engage(True)
    now_ns = 10**9 + described.period_ns
    tick(now_ns)
    rows = np.zeros((20, len(described.columns)))
    rows[:, described.columns.index(base.columns[0])] = 0.1
    chunk = adapter.ActionChunk(rows, described.columns, now_ns, described.step_ns, 1, "")
    node.chunk(chunk)
    node.told_of_other(hand.topic)
    tick(now_ns + described.period_ns)
    assert not node.engaged
    assert not any(one.values.any() for one in world.sent[base.name])
