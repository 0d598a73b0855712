"""The simulated arm follows, the cameras show the same with and without OpenGL, the expert works."""

import numpy as np
import pytest

from vla_policy.sim.demonstrations.expert import MAX_STEP_M, expert_action
from vla_policy.sim.demonstrations.row_player import Driver
from vla_policy.sim.demonstrations.start_poses import opening_around
from vla_policy.sim.scenes.scene import COLOURS, REGION_LOWER, REGION_UPPER, sample_scene
from vla_policy.sim.tasks.judge import Judge
from vla_policy.sim.tasks.tasks import FAMILIES, sample_task
from vla_policy.sim.world.render import choose_renderer
from vla_policy.sim.world.world import TOP_DOWN_XYZW, World


@pytest.fixture(scope="module")
def world():
    made = World(renderer="raycast")
    yield made
    made.close()


def pose(xyz) -> np.ndarray:
    return np.concatenate([xyz, TOP_DOWN_XYZW])


def angle_rad(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * np.arccos(min(1.0, abs(a @ b))))


def test_inverse_kinematics_reaches_the_workspace(world: World) -> None:
    world.reset(sample_scene(0))
    rng = np.random.default_rng(0)
    for _ in range(60):
        goal = pose(rng.uniform([*REGION_LOWER, 0.02], [*REGION_UPPER, 0.25]))
        world.place_arm(goal, 1.0)
        found = world.robot_state().ee_pose
        assert np.linalg.norm(found[:3] - goal[:3]) < 1e-4
        assert angle_rad(found[3:], goal[3:]) < 1e-3


def test_out_of_reach_saturates_inside_the_joint_limits(world: World) -> None:
    world.reset(sample_scene(0))
    for goal in ([2.0, 0.0, 0.3], [0.3, 0.0, 2.0], [-1.0, -1.0, 0.2]):
        world.command(pose(goal), 1.0)
        for _ in range(50):
            world.step()
        joints = world.robot_state().joint_positions[:6]
        arm = world.model.jnt_range[[world.model.joint(f"vx300s_left/{n}").id for n in
                                     ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")]]  # fmt: skip
        assert np.isfinite(joints).all()
        assert (joints > arm[:, 0] - 0.02).all() and (joints < arm[:, 1] + 0.02).all()


def test_the_tool_tracks_a_moving_setpoint_within_5_mm(world: World) -> None:
    world.reset(sample_scene(3))
    here = world.robot_state().ee_pose[:3].copy()
    worst_mm = 0.0
    for goal in ([0.25, -0.2, 0.15], [0.42, 0.2, 0.18], [0.40, -0.1, 0.10], [0.22, 0.0, 0.25]):
        while np.linalg.norm(goal - here) > 1e-9:
            step = goal - here
            here = here + step * min(1.0, 0.006 / np.linalg.norm(step))  # 0.3 m/s at 50 Hz
            world.command(pose(here), 1.0)
            world.step()
            worst_mm = max(worst_mm, 1e3 * np.linalg.norm(world.robot_state().ee_pose[:3] - here))
    assert worst_mm < 5.0


def test_the_gripper_follows_its_opening_and_time_advances(world: World) -> None:
    world.reset(sample_scene(0))
    start_ns = world.time_ns
    for wanted in (0.0, 0.5, 1.0):
        world.command(pose(sample_scene(0).home_xyz), wanted)
        for _ in range(25):
            world.step()
        assert abs(world.robot_state().gripper - wanted) < 0.03
    assert world.time_ns - start_ns == 75 * 20_000_000


@pytest.mark.parametrize("bad", [np.full(7, np.nan), np.zeros(6)])
def test_a_setpoint_that_is_not_a_pose_is_refused(world: World, bad: np.ndarray) -> None:
    world.reset(sample_scene(0))
    with pytest.raises(ValueError, match="finite"):
        world.command(bad, 1.0)


def test_objects_stay_where_they_are(world: World) -> None:
    for seed in range(4):
        world.reset(sample_scene(seed))
        before = world.truth().object_xyz
        for _ in range(100):
            world.step()
        after = world.truth()
        assert np.abs(after.object_xyz - before).max() < 0.004
        assert not any(after.held)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_expert_does_each_family_in_real_physics(world: World, family: str) -> None:
    done = 0
    for seed in range(600_000, 600_004):
        scene = sample_scene(seed)
        world.reset(scene)
        try:
            task = sample_task(scene, np.random.default_rng(seed), family)
        except ValueError:
            continue
        driver = Driver(world, Judge(task, world.truth()))
        for _ in range(80):
            truth = world.truth()
            action = expert_action(task, truth)
            assert (
                np.linalg.norm(action.arms[0].pose[:3] - truth.tools[0].xyz) <= MAX_STEP_M + 1e-9
            )
            driver.pursue(action)
            if action.terminate and driver.result.ever_success:
                break
        assert driver.result.ever_success, (seed, task, driver.result)
        done += 1
    assert done >= 2


def test_a_copied_world_goes_on_alike(world: World) -> None:
    world.reset(sample_scene(2))
    world.command(pose([0.3, 0.1, 0.1]), 0.5)
    for _ in range(10):
        world.step()
    twin = World(renderer="raycast")
    twin.copy_from(world)
    for each in (world, twin):
        for _ in range(20):
            each.step()
    assert np.allclose(world.robot_state().ee_pose, twin.robot_state().ee_pose, atol=1e-6)


def test_objects_show_their_colour_where_they_are_projected(world: World) -> None:
    hits = 0
    for seed in range(8):
        scene = sample_scene(seed)
        world.reset(scene)
        world.place_arm(pose([0.2, 0.0, 0.3]), 1.0)
        image = world.render("front").astype(float)
        uv = world.project("front", world.truth().object_xyz)
        assert ((uv > 0.02) & (uv < 0.98)).all()
        for (u, v), item in zip(uv, scene.objects, strict=True):
            seen = image[int(v * 96), int(u * 96)]
            wanted = np.array(item.rgb)
            cosine = seen @ wanted / (np.linalg.norm(seen) * np.linalg.norm(wanted) + 1e-9)
            hits += cosine > 0.95
    assert hits >= 22  # of 24; an object may stand behind another


def test_the_wrist_camera_sees_what_is_between_the_fingers(world: World) -> None:
    scene = sample_scene(1)
    world.reset(scene)
    item = scene.objects[0]
    world.place_arm(pose([*item.xy, item.half_m + 0.005]), opening_around(item.half_m))
    ((u, v),) = world.project("wrist", world.truth().object_xyz[:1])
    assert 0.2 < u < 0.8 and 0.2 < v < 0.8
    assert item.colour in COLOURS


def test_where_rays_hit_nothing_is_black(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo before 4 writes only what is hit."""
    world.reset(sample_scene(0))
    assert world.render("front").any()
    monkeypatch.setattr("mujoco.mj_multiRay", lambda *arguments: None)
    assert not world.render("front").any()


def test_ray_caster_and_opengl_show_the_same(world: World) -> None:
    name = choose_renderer("auto")
    if name == "raycast":
        pytest.skip("no EGL or OSMesa here; runs where libegl1 libgl1 or libosmesa6 is installed")
    other = World(renderer=name)
    for seed in range(3):
        for each in (world, other):
            each.reset(sample_scene(seed))
        for camera in ("front", "wrist", "overview"):
            a, b = (each.render(camera).astype(int) for each in (world, other))
            assert np.abs(a - b).mean() < 1.5, camera
    other.close()


def test_an_unknown_renderer_or_camera_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="egl, osmesa, raycast"):
        World(renderer="opengl")
    world.reset(sample_scene(0))
    with pytest.raises(ValueError, match="front, wrist, overview"):
        world.render("left")


def test_a_world_that_is_restored_from_numbers_goes_on_as_the_other():
    scene = sample_scene(7)
    one, other = World(renderer="raycast"), World(renderer="raycast")
    one.reset(scene)
    goal = one.robot_state().poses["ee"] + np.array([0.03, 0.02, -0.02, 0.0, 0.0, 0.0, 0.0])
    one.command(goal, 0.3)
    for _ in range(7):
        one.step()
    other.restore(scene, one.state_values())
    for _ in range(20):
        one.step()
        other.step()
    np.testing.assert_array_equal(one.state_values(), other.state_values())
    assert one.state_values()[0] == one.time_ns == other.time_ns
    with pytest.raises(ValueError, match="state: got shape"):
        other.restore(scene, np.zeros(3))
