"""The pair of arms and the arm on a base: sound physics, an expert that succeeds, vx300s as before."""

import numpy as np
import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.sim.demonstrations.expert import MAX_STEP_M, acting_arm, expert_action
from vla_policy.sim.demonstrations.labels import state_vector
from vla_policy.sim.demonstrations.record import action_label
from vla_policy.sim.demonstrations.row_player import Driver
from vla_policy.sim.scenes.placement import PAIR_LOWER, PAIR_UPPER, SHARED_LOWER, SHARED_UPPER
from vla_policy.sim.scenes.scene import sample_scene, seen_from
from vla_policy.sim.tasks.judge import Judge, inside
from vla_policy.sim.tasks.tasks import sample_task
from vla_policy.sim.tasks.typed import parse_task
from vla_policy.sim.twin import TWINS, find_twin
from vla_policy.sim.world.base import SPEED_M_S, SPEED_RAD_S, WATCHDOG_NS
from vla_policy.sim.world.world import TOP_DOWN_XYZW, World

PAIR, MOBILE = "vx300s_pair", "vx300s_mobile"
NEW = (PAIR, MOBILE)
FIRST_SEED = 700_000


@pytest.fixture(scope="module")
def worlds():
    made = {name: World(renderer="raycast", robot=name) for name in NEW}
    yield made
    for world in made.values():
        world.close()


def pose(xyz) -> np.ndarray:
    return np.concatenate([xyz, TOP_DOWN_XYZW])


def run(world: World, seconds: float) -> None:
    for _ in range(round(seconds * 50)):
        world.step()


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_the_names_of_its_embodiment(name: str) -> None:
    twin, robot = find_twin(name), load_embodiment(name)
    assert set(twin.cameras) == set(robot.cameras)
    assert tuple(robot.poses) == tuple(arm.tool for arm in twin.arms)
    assert {arm.gripper for arm in twin.arms} <= set(robot.action_names)
    assert ("base.vx" in robot.action_names) == twin.drives
    assert len(robot.joint_names) == 6 * len(twin.arms)


def test_a_robot_without_a_twin_and_a_scene_of_another_are_refused(worlds) -> None:
    with pytest.raises(ValueError, match="'fr3', simulated are vx300s, vx300s_pair"):
        World(robot="fr3")
    with pytest.raises(ValueError, match="one for vx300s, this world is of vx300s_pair"):
        worlds[PAIR].reset(sample_scene(0))
    with pytest.raises(ValueError, match="stands on no moving base"):
        worlds[PAIR].drive(0.1, 0.0)


def test_the_numbers_of_vx300s_are_what_they_were(worlds) -> None:
    """Shipped policies and published results are of these scenes."""
    scene = sample_scene(7)
    assert [o.name for o in scene.objects] == ["orange ball", "purple ball", "yellow ball"]
    assert np.allclose(scene.objects[0].xy, [0.238116, 0.17972], atol=1e-6)
    assert scene.objects[2].half_m == pytest.approx(0.02463, abs=1e-6)
    assert scene.objects[1].yaw_rad == pytest.approx(-0.077895, abs=1e-6)
    assert np.allclose(scene.home_xyz, [0.325298, 0.049684, 0.160941], atol=1e-6)
    assert np.allclose(scene.looks.front_position, [0.677303, 0.026887, 0.607933], atol=1e-6)
    assert np.allclose(scene.tray_xy, [0.381742, 0.137332], atol=1e-6)


def test_both_arms_reach_their_side_and_what_they_share(worlds) -> None:
    world = worlds[PAIR]
    world.reset(sample_scene(0, robot=PAIR))
    rng = np.random.default_rng(0)
    for arm, side in ((0, 1.0), (1, -1.0)):
        tool = world.twin.arms[arm].tool
        for _ in range(30):
            own = rng.uniform(PAIR_LOWER, PAIR_UPPER) * [1.0, side]
            shared = rng.uniform(SHARED_LOWER, SHARED_UPPER)
            for xy in (own, shared):
                goal = pose([*xy, rng.uniform(0.02, 0.15)])
                world.place_arm(goal, 1.0, arm)
                assert np.linalg.norm(world.robot_state().poses[tool][:3] - goal[:3]) < 1e-3


def test_each_arm_follows_its_own_commands(worlds) -> None:
    world = worlds[PAIR]
    world.reset(sample_scene(1, robot=PAIR))
    goals = ([0.30, 0.20, 0.15], [0.35, -0.15, 0.20])
    for arm, goal in enumerate(goals):
        world.command(pose(goal), float(arm), arm)
    run(world, 1.0)
    state = world.robot_state()
    for tool, goal in zip(("left.ee", "right.ee"), goals, strict=True):
        assert np.linalg.norm(state.poses[tool][:3] - goal) < 0.005
    assert state.grippers["left.gripper"] < 0.05 and state.grippers["right.gripper"] > 0.95
    assert state.joint_positions.shape == (14,)


def test_arms_that_meet_do_not_pass_through_each_other(worlds) -> None:
    world = worlds[PAIR]
    world.reset(sample_scene(1, robot=PAIR))
    for arm, y in ((0, 0.10), (1, -0.10)):
        world.place_arm(pose([0.33, y, 0.18]), 0.0, arm)
    for y in np.linspace(0.10, -0.10, 50):
        world.command(pose([0.33, y, 0.18]), 0.0, 0)
        world.command(pose([0.33, -0.10, 0.18]), 0.0, 1)
        world.step()
    run(world, 0.5)
    left, right = (tool.xyz for tool in world.truth().tools)
    assert left[1] - right[1] > 0.02


def test_the_base_drives_straight_and_turns_by_what_is_commanded(worlds) -> None:
    world = worlds[MOBILE]
    world.reset(sample_scene(0, robot=MOBILE))
    for vx, wz, seconds in ((0.2, 0.0, 1.0), (0.0, 0.5, 2.0)):
        before = world.base_pose
        for _ in range(round(seconds * 50)):
            world.drive(vx, wz)
            world.step()
        world.drive(0.0, 0.0)
        run(world, 0.5)
        moved = world.base_pose - before
        assert np.linalg.norm(moved[:2]) == pytest.approx(vx * seconds, abs=0.005)
        assert moved[2] == pytest.approx(wz * seconds, abs=0.02)


def test_the_base_has_a_speed_limit_and_refuses_what_is_no_number(worlds) -> None:
    world = worlds[MOBILE]
    world.reset(sample_scene(0, robot=MOBILE))
    for _ in range(50):
        world.drive(-5.0, 9.0)
        world.step()
    before = world.base_pose
    world.drive(-5.0, 9.0)
    run(world, 0.2)
    moved = world.base_pose - before
    assert np.linalg.norm(moved[:2]) <= 0.2 * SPEED_M_S * 1.02
    assert abs(moved[2]) <= 0.2 * SPEED_RAD_S * 1.02
    with pytest.raises(ValueError, match="finite"):
        world.drive(float("nan"), 0.0)


def test_a_base_that_hears_nothing_stands_after_half_a_second(worlds) -> None:
    world = worlds[MOBILE]
    world.reset(sample_scene(0, robot=MOBILE))
    world.drive(0.3, 0.0)
    run(world, WATCHDOG_NS / 1e9)
    assert world.base_pose[0] > 0.08  # it went meanwhile
    run(world, 0.5)
    stood = world.base_pose
    run(world, 1.0)
    assert np.abs(world.base_pose - stood).max() < 1e-3


def test_driving_moves_neither_objects_nor_the_arm_against_the_base(worlds) -> None:
    world = worlds[MOBILE]
    world.reset(sample_scene(2, robot=MOBILE))
    world.command(pose([0.20, 0.0, 0.24]), 1.0)
    run(world, 0.6)
    room, tool = world.truth().room_xyz, world.truth().tools[0].xyz
    for k in range(100):
        world.drive(0.1, 0.7 if k % 40 < 20 else -0.7)
        world.step()
        assert np.linalg.norm(world.truth().tools[0].xyz - tool) < 0.006
    assert np.abs(world.truth().room_xyz - room).max() < 0.002
    assert world.data.xmat[world.model.body("base").id][8] > 0.9999  # upright


def test_truth_and_projection_are_in_the_frame_of_the_base(worlds) -> None:
    world = worlds[MOBILE]
    scene = sample_scene(3, robot=MOBILE)
    world.reset(scene)
    world.place_base(np.array([0.1, -0.05, 0.3]))
    truth = world.truth()
    c, s = np.cos(0.3), np.sin(0.3)
    x, y = truth.object_xyz[0, :2]
    there = [0.1 + c * x - s * y, -0.05 + s * x + c * y]
    assert np.allclose(there, scene.objects[0].xy, atol=1e-6)
    assert np.allclose(truth.scene.tray_xy, seen_from(scene, world.base_pose).tray_xy)
    image = world.render("front").astype(float)
    for (u, v), item in zip(world.project("front", truth.object_xyz), scene.objects, strict=True):
        if 0.05 < u < 0.95 and 0.05 < v < 0.95:
            side = len(image)
            seen, wanted = image[int(v * side), int(u * side)], np.array(item.rgb)
            assert seen @ wanted / np.linalg.norm(seen) / np.linalg.norm(wanted) > 0.95
    corner = np.array(scene.tray_xy) + 0.054
    local = np.array([*seen_point(corner, world.base_pose), 0.02])
    assert inside(truth.scene, local, 0, "tray")
    local[0] += 0.02
    assert not inside(truth.scene, local, 0, "tray")


def seen_point(xyz, base) -> np.ndarray:
    c, s = np.cos(base[2]), np.sin(base[2])
    x, y = xyz[:2] - base[:2]
    return np.array([c * x + s * y, c * y - s * x])


@pytest.mark.parametrize("name", NEW)
def test_the_expert_succeeds_and_moves_nothing_else(worlds, name: str) -> None:
    world = worlds[name]
    travelled = 0.0
    for seed in range(FIRST_SEED, FIRST_SEED + 5):
        scene = sample_scene(seed, robot=name)
        world.reset(scene)
        task = sample_task(scene, np.random.default_rng(seed))
        assert task.family in world.twin.families and task.kind in world.twin.kinds
        start = world.truth().room_xyz
        driver = Driver(world, Judge(task, world.truth()))
        for _ in range(round(world.twin.seconds * 10)):
            truth = world.truth()
            action = expert_action(task, truth)
            for goal, tool in zip(action.arms, truth.tools, strict=True):
                assert np.linalg.norm(goal.pose[:3] - tool.xyz) <= MAX_STEP_M + 1e-9
            driver.pursue(action)
            if action.terminate and driver.result.ever_success:
                break
        assert driver.result.ever_success, (seed, task, driver.result)
        moved = np.linalg.norm(world.truth().room_xyz - start, axis=1)
        assert np.delete(moved, task.target).max() < 0.005, (seed, task)
        travelled += float(np.linalg.norm(world.base_pose[:2]))
    assert (travelled > 0.3) == world.twin.drives


def test_the_arm_beside_the_object_acts_and_the_other_stays_at_its_rest(worlds) -> None:
    world = worlds[PAIR]
    for seed in range(4):
        scene = sample_scene(seed, robot=PAIR)
        world.reset(scene)
        task = sample_task(scene, np.random.default_rng(seed))
        acting = acting_arm(task, world.truth())
        assert acting == (0 if scene.objects[task.target].xy[1] >= 0 else 1)
        driver = Driver(world, Judge(task, world.truth()))
        for _ in range(25):
            driver.pursue(expert_action(task, world.truth()))
            other = world.truth().tools[1 - acting].xyz
            assert np.linalg.norm(other - world.twin.arms[1 - acting].rest_xyz) < 0.07


@pytest.mark.parametrize(("name", "state", "action"), [(PAIR, 16, 15), (MOBILE, 8, 10)])
def test_labels_have_the_columns_of_the_robot(worlds, name, state, action) -> None:
    world = worlds[name]
    scene = sample_scene(FIRST_SEED, robot=name)
    world.reset(scene)
    task = sample_task(scene, np.random.default_rng(0))
    said = expert_action(task, world.truth())
    poses = [np.array(p) for p in world.robot_state().poses.values()]
    label = action_label(said, poses, drives=world.twin.drives)
    assert label.shape == (action,) and state_vector(world).shape == (state,)
    assert np.allclose(label[:3], said.arms[0].pose[:3] - poses[0][:3], atol=1e-6)
    if name == PAIR:
        assert np.allclose(label[7:10], said.arms[1].pose[:3] - poses[1][:3], atol=1e-6)
        assert (label[6], label[13], label[14]) == (said.arms[0].gripper, said.arms[1].gripper, 0)
    else:
        assert np.allclose(label[8:], said.drive)


def test_what_a_robot_was_not_taught_is_refused_with_a_sentence() -> None:
    scene = sample_scene(1, robot=PAIR)
    name = scene.objects[0].name
    with pytest.raises(ValueError, match="vx300s_pair is told pick or put"):
        parse_task(f"push the {name} to the pad", scene)
    assert parse_task(f"pick up the {name}", scene).target == 0


@pytest.mark.parametrize("name", NEW)
def test_a_copied_world_goes_on_alike(worlds, name: str) -> None:
    world = worlds[name]
    world.reset(sample_scene(2, robot=name))
    for arm in range(len(world.twin.arms)):
        world.command(pose(np.array(world.twin.arms[arm].rest_xyz) + 0.02), 0.5, arm)
    if world.twin.drives:
        world.drive(0.2, 0.3)
    run(world, 0.2)
    twin = World(renderer="raycast", robot=name)
    twin.copy_from(world)
    for each in (world, twin):
        run(each, 0.4)
    assert np.allclose(world.base_pose, twin.base_pose, atol=1e-6)
    for tool, there in world.robot_state().poses.items():
        assert np.allclose(there, twin.robot_state().poses[tool], atol=1e-6)
