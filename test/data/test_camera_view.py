"""A tool that leaves a camera's image is seen to do so, by the renderer's own geometry."""

import numpy as np
import pytest

from vla_policy.data.camera_view import POINTED_NS, PointedMeter, TargetMeter, ViewMeter, in_view
from vla_policy.embodiment import View, load_embodiment

ABOVE = View((0.0, 0.0, 1.0), (0.0, 0.0, 0.0), 90.0, up=(1.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("xyz", "size", "seen"),
    [
        ((0.0, 0.0, 0.0), (100, 100), True),
        ((0.99, 0.0, 0.0), (100, 100), True),
        ((1.01, 0.0, 0.0), (100, 100), False),
        ((0.0, -1.01, 0.0), (100, 100), False),
        ((0.0, 1.3, 0.0), (100, 133), True),  # wider than high
        ((0.0, 0.4, 0.5), (100, 100), True),
        ((0.0, 0.6, 0.5), (100, 100), False),
        ((0.0, 0.0, 2.0), (100, 100), False),  # behind it
    ],
)
def test_a_point_is_in_the_image_or_not(xyz, size, seen):
    assert in_view(ABOVE, np.array(xyz), size) is seen


def test_it_agrees_with_what_the_simulation_projects():
    pytest.importorskip("mujoco")
    from vla_policy.sim.scenes.scene import sample_scene
    from vla_policy.sim.world.render import project
    from vla_policy.sim.world.world import World

    world = World(renderer="raycast")
    scene = sample_scene(5)
    world.reset(scene)
    looks = scene.looks
    view = View(tuple(looks.front_position), tuple(looks.front_target), looks.front_fovy_deg)
    points = np.random.default_rng(0).uniform((0.0, -0.5, 0.0), (0.7, 0.5, 0.4), (300, 3))
    uv = project(world.model, world.data, "front", points)
    reach = np.abs(uv - 0.5).max(axis=1)
    clear = np.abs(reach - 0.5) > 0.03  # the scene's camera is rolled a little
    inside = reach[clear] < 0.5
    assert 30 < inside.sum() < 270 and clear.sum() > 200
    assert [in_view(view, p, (96, 96)) for p in points[clear]] == inside.tolist()


def test_the_share_of_frames_is_counted_where_a_view_is_known():
    robot = load_embodiment("vx300s")
    images = {c: np.zeros((96, 96, 3), np.uint8) for c in robot.cameras}
    inside, outside = np.zeros(8), np.array([3.0, *np.zeros(7)])
    meter = ViewMeter(robot, {"front": ABOVE})
    assert meter.shares is None
    for state in (inside, inside, inside, outside):
        meter.add(state, images)
    assert meter.shares == {"front": 0.25}
    unknown = ViewMeter(robot, {})
    unknown.add(inside, images)
    assert unknown.shares is None
    joints = ViewMeter(load_embodiment("so101"), {"front": ABOVE})
    joints.add(np.zeros(6), {"front": images["front"]})
    assert joints.shares is None


def test_the_frames_without_the_object_of_the_task_are_counted_from_when_it_is_known():
    meter = TargetMeter(("front", "wrist"))
    meter.add()
    assert meter.shares is None
    for known, frames in (((), 2), (("front",), 1), (None, 5), (("front", "elsewhere"), 1)):
        meter.hear(known)
        for _ in range(frames):
            meter.add()
    assert meter.shares == {"front": 0.5}
    seen = TargetMeter(("front",))
    seen.hear(())
    seen.add()
    assert seen.shares == {}


def test_the_place_that_a_policy_points_to_counts_while_it_is_new_and_known_for_most_of_the_take():
    images = {"front": np.zeros((96, 96, 3), np.uint8)}
    inside, outside, ms = np.zeros(3), np.array([3.0, 0.0, 0.0]), 1_000_000
    meter = PointedMeter({"front": ABOVE})
    assert meter.shares is None
    for number, place in enumerate((inside, inside, inside, outside)):
        meter.hear(place, number * 100 * ms)
        meter.add(number * 100 * ms + 50 * ms, images)
    assert meter.shares == {"front": 0.25}
    for number in range(3):  # a place of long ago: these frames say nothing
        meter.add(300 * ms + POINTED_NS + (1 + number) * 100 * ms, images)
    assert meter.shares == {"front": 0.25}
    meter.hear(None, 0)
    for number in range(2):
        meter.add(number, images)
    assert meter.shares is None  # of four frames in nine too little is known
    unknown = PointedMeter({})
    unknown.hear(outside, 0)
    unknown.add(0, images)
    assert unknown.shares is None


def test_the_simulation_says_which_camera_lacks_the_object_of_the_task():
    pytest.importorskip("mujoco")
    from vla_policy.sim.realtime import target_outside
    from vla_policy.sim.scenes.scene import sample_scene
    from vla_policy.sim.world.world import World

    world = World(renderer="raycast")
    world.reset(sample_scene(5))
    for xyz in world.truth().object_xyz:
        assert target_outside(world, xyz) == ()
    behind, beside = np.array([3.0, 0.0, 0.0]), np.array([0.3, 0.9, 0.0])
    assert target_outside(world, behind) == target_outside(world, beside) == ("front",)
