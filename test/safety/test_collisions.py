"""Collisions, reach, joint limits and singularities, with the bodies of a robot given as a file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco", reason="comes with requirements/simulation.txt")

from vla_policy.embodiment import Joints, Model, Workspace, load_embodiment  # noqa: E402
from vla_policy.execution.stopping_trajectory import joint_way  # noqa: E402
from vla_policy.safety import guard_state  # noqa: E402
from vla_policy.safety.guard import check  # noqa: E402
from vla_policy.safety.guard_state import GuardState  # noqa: E402
from vla_policy.safety.robot import robot_of  # noqa: E402
from vla_policy.types import Level, RobotState  # noqa: E402

GOLDEN = Path(__file__).parents[1] / "golden"
TOUCHING = (("base_link", "shoulder_link"), ("world", "base_link"), ("world", "shoulder_link"))
MODEL = Model(GOLDEN / "arm_bodies.xml", 0.01, TOUCHING, joint_margin=0.05, singular_value=0.02)
HOME = np.array([0.0, -0.5, 0.6, 0.0, 0.6, 0.0])
MS = 1_000_000


def with_model(name, keep_out=(), **changes):
    embodiment = load_embodiment(name)
    limits = replace(embodiment.limits, engage_fade_s=0.0, keep_out=keep_out)
    return robot_of(replace(embodiment, limits=limits, model=replace(MODEL, **changes)))


@pytest.fixture(scope="module")
def joint_arm():
    return with_model(GOLDEN / "joint_robot.yaml")


@pytest.fixture(scope="module")
def pose_arm():
    return with_model("vx300s")


def tool_pose(joints):
    """float64[7] of the tool at joints, by MuJoCo's own kinematics."""
    model = mujoco.MjModel.from_xml_path(str(MODEL.file))
    data = mujoco.MjData(model)
    data.qpos[:] = joints
    mujoco.mj_kinematics(model, data)
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, data.site("ee_gripper_link").xmat)
    return np.concatenate((data.site("ee_gripper_link").xpos, quat[[1, 2, 3, 0]]))


def walk(robot, start, end, ticks, *, seen):
    """Verdicts of a robot that follows at once on a straight way of joints or of the tool."""
    state, here, verdicts = guard_state.engage(GuardState()), start, []
    for tick in range(ticks):
        target = start + (end - start) * (tick + 1) / ticks
        state, verdict = check(
            state,
            robot,
            np.append(target, 0.5),
            here=np.append(here, 0.5),
            seen=seen(here),
            faults=(),
            now_ns=(1000 + 20 * tick) * MS,
        )
        verdicts.append(verdict)
        if verdict.command is None:
            return verdicts
        if moves(verdict):
            here = np.array(verdict.command.values[:-1])
    return verdicts


def moves(verdict):
    """Whether the arm is told anything; a trajectory controller is not when it holds."""
    return verdict.command is not None and len(verdict.command.names) > 1


def codes(verdicts):
    return {reason.code for verdict in verdicts for reason in verdict.reasons}


def test_an_arm_is_held_before_it_touches_the_table(joint_arm):
    down = np.add(HOME, [0, 1.2, 0, 0, 0, 0])
    verdicts = walk(joint_arm, HOME, down, 200, seen=lambda q: RobotState(q, 1))
    held = next(k for k, v in enumerate(verdicts) if v.level is Level.HOLD)
    reason = verdicts[held].reasons[-1]
    assert reason.code == "collision"
    assert reason.detail.startswith("gripper_link and world")
    last = verdicts[held].command.values[:6]
    assert clearance(last) >= MODEL.clearance_m - 1e-4
    assert clearance(last) < MODEL.clearance_m + 0.01
    # What is left of the way is gone in smaller steps, from rest, and never further.
    assert all(
        clearance(v.command.values[:6]) >= MODEL.clearance_m - 1e-6 for v in verdicts if moves(v)
    )
    assert all(v.level is Level.HOLD for v in verdicts[-20:])


def clearance(joints):
    """Distance to the table of the lowest capsule end, by geometry alone."""
    model = mujoco.MjModel.from_xml_path(str(MODEL.file))
    data = mujoco.MjData(model)
    data.qpos[:] = joints
    mujoco.mj_kinematics(model, data)
    lowest = np.inf
    for geom in range(2, model.ngeom):
        axis = data.geom_xmat[geom].reshape(3, 3)[:, 2] * model.geom_size[geom, 1]
        for end in (data.geom_xpos[geom] + axis, data.geom_xpos[geom] - axis):
            if model.body(model.geom_bodyid[geom]).name != "shoulder_link":
                lowest = min(lowest, end[2] - model.geom_size[geom, 0])
    return lowest


def test_an_arm_whose_output_goes_on_to_rest_stops_earlier_so_that_the_rest_is_free(joint_arm):
    down = np.add(HOME, [0, 1.2, 0, 0, 0, 0])
    robot = with_trajectories(joint_arm)
    verdicts = walk(robot, HOME, down, 50, seen=lambda q: RobotState(q, 1))
    part, period_ns = robot.layout.parts[0], robot.embodiment.period_ns
    ends = [
        joint_way(part, v.command.values[:6], v.command.rates[:6], period_ns).positions[-1]
        for v in verdicts
        if moves(v)
    ]
    assert min(clearance(end) for end in ends) >= MODEL.clearance_m - 1e-4
    assert min(clearance(end) for end in ends) < MODEL.clearance_m + 0.02
    assert (
        max(abs(v.command.rates[1]) for v in verdicts if moves(v)) > 0.9
    )  # it was in full motion
    # The same motion without what lies behind would have ended in the table's clearance.
    blind = walk(joint_arm, HOME, down, 50, seen=lambda q: RobotState(q, 1))
    behind = [
        joint_way(part, v.command.values[:6], v.command.rates[:6], period_ns).positions[-1]
        for v in blind
    ]
    assert min(clearance(end) for end in behind) < MODEL.clearance_m - 0.01
    slowed = next(v for v in verdicts if v.reasons and v.reasons[-1].code == "collision")
    assert slowed.level is Level.SLOW
    assert slowed.reasons[-1].detail.startswith("coming to rest behind the setpoint, gripper_link")


def with_trajectories(robot):
    """robot with its arm commanded by trajectories."""
    outputs = dict(robot.embodiment.outputs)
    outputs["arm"] = replace(outputs["arm"], type="joint_trajectory")
    return replace(robot, embodiment=replace(robot.embodiment, outputs=outputs))


def test_an_arm_is_held_before_it_touches_itself(joint_arm):
    start = np.array([0.0, -1.2, 0.0, 0.0, 0.0, 0.0])
    folded = np.array([0.0, -1.2, 1.5, 0.0, 2.2, 0.0])
    verdicts = walk(joint_arm, start, folded, 300, seen=lambda q: RobotState(q, 1))
    assert "collision" in codes(verdicts)
    assert "world" not in verdicts[-1].reasons[-1].detail


def test_an_arm_that_is_too_near_already_may_move_away(joint_arm):
    down = np.add(HOME, [0, 1.2, 0, 0, 0, 0])
    verdicts = walk(joint_arm, HOME, down, 200, seen=lambda q: RobotState(q, 1))
    near = [v.command.values[:6] for v in verdicts if v.command is not None][-1]
    low = np.add(near, [0, 0.01, 0, 0, 0, 0])
    verdicts = walk(joint_arm, low, HOME, 100, seen=lambda q: RobotState(q, 1))
    assert all(v.level < Level.HOLD for v in verdicts)
    assert walk(joint_arm, low, down, 100, seen=lambda q: RobotState(q, 1))[0].command is None


def test_a_keep_out_box_stops_every_link():
    box = Workspace(np.array([0.1, 0.15, 0.2]), np.array([0.5, 0.3, 0.6]))
    arm = with_model(GOLDEN / "joint_robot.yaml", keep_out=(box,))
    turned = np.add(HOME, [0.9, 0, 0, 0, 0, 0])
    verdicts = walk(arm, HOME, turned, 200, seen=lambda q: RobotState(q, 1))
    assert verdicts[-1].reasons[-1].code == "collision"
    assert "keep_out_0" in verdicts[-1].reasons[-1].detail
    free = walk(arm, HOME, -turned * [1, -1, -1, 1, -1, 1], 200, seen=lambda q: RobotState(q, 1))
    assert free[-1].level < Level.HOLD


def seen_at(joints):
    """The joints follow the tool in these tests only as far as a start is needed."""
    return lambda _pose: RobotState(joints, 1)


def test_tool_poses_are_followed_while_the_joints_can(pose_arm):
    start = tool_pose(HOME)
    end = np.add(start, [0.05, 0.02, -0.05, 0, 0, 0, 0])
    verdicts = walk(pose_arm, start, end, 60, seen=seen_at(HOME))
    assert codes(verdicts) == set()


def test_a_pose_out_of_reach_and_one_near_the_end_of_a_joint_are_held(pose_arm):
    limits = replace(pose_arm.embodiment.limits.groups["arm"], workspace=_everywhere())
    groups = {**pose_arm.embodiment.limits.groups, "arm": limits}
    embodiment = replace(
        pose_arm.embodiment, limits=replace(pose_arm.embodiment.limits, groups=groups)
    )
    wide = robot_of(embodiment)
    stretched = np.array([0.0, 0.6, -0.5, 0.0, 0.0, 0.0])
    start = tool_pose(stretched)
    verdicts = walk(
        wide, start, np.add(start, [0.3, 0, 0, 0, 0, 0, 0]), 300, seen=seen_at(stretched)
    )
    assert verdicts[-1].level is Level.HOLD
    assert verdicts[-1].reasons[-1].code in ("unreachable", "singular")
    bent = np.array([0.0, -0.2, -1.55, 0.0, 0.8, 0.0])
    start, end = tool_pose(bent), tool_pose(np.add(bent, [0, 0, -0.2, 0, 0, 0]))
    reached = walk(wide, start, end, 60, seen=seen_at(bent))[-1]
    assert (reached.level, reached.reasons[-1].code) == (Level.HOLD, "joint_limit")
    assert "elbow" in reached.reasons[-1].detail


def _everywhere():
    return Workspace(np.full(3, -2.0), np.full(3, 2.0))


def test_a_singular_pose_is_held(pose_arm):
    joints = np.add(HOME, [0, 0, 0, 0, -0.6, 0])  # forearm_roll and wrist_rotate on one axis
    reason = pose_arm.bodies.problem(
        RobotState(np.add(HOME, [0, 0, 0, 0, -0.5, 0]), 1), np.append(tool_pose(joints), 0.5)
    )
    assert reason is not None
    assert reason.code == "singular"


def test_a_check_is_a_function_of_its_arguments(joint_arm):
    rng = np.random.default_rng(3)
    lower, upper = joint_arm.embodiment.joints.lower, joint_arm.embodiment.joints.upper
    cases = [
        (RobotState(rng.uniform(lower, upper), 1), rng.uniform(lower, upper)) for _ in range(20)
    ]
    ask = lambda case: joint_arm.bodies.problem(case[0], np.append(case[1], 0.5))  # noqa: E731
    once = [ask(case) for case in cases]
    assert once == [ask(case) for case in cases]
    assert once[::-1] == [ask(case) for case in cases[::-1]]
    assert ask((RobotState(), HOME)).code == "no_position"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"file": GOLDEN / "nowhere.xml"}, "cannot read"),
        ({"file": GOLDEN / "joint_robot.yaml"}, "cannot read"),
        ({"file": GOLDEN / "arm_bodies.urdf"}, "no joint 'waist'"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        with_model(GOLDEN / "joint_robot.yaml", **changes)


def test_a_urdf_is_read_with_its_fixed_links():
    embodiment = load_embodiment(GOLDEN / "joint_robot.yaml")
    old = embodiment.joints
    bounds = (np.array([-1.5, -3.0]), np.array([1.5, 3.0]))
    joints = Joints(old.topic, ("lift", "bend"), "rad", *bounds, old.max_age_s)
    names = ("joint.lift", "joint.bend")
    group = replace(embodiment.actions[0], names=names)
    embodiment = replace(
        embodiment,
        joints=joints,
        tool_frame="tool",
        actions=(group, embodiment.actions[1]),
        state=names,
        model=replace(MODEL, file=GOLDEN / "arm_bodies.urdf", ignore=(("base_link", "upper"),)),
    )
    robot = robot_of(embodiment)
    seen = RobotState(np.zeros(2), 1)
    assert robot.bodies.problem(seen, np.array([0.0, 0.5, 0.5])) is None
    assert robot.bodies.problem(seen, np.array([0.8, 0.3, 0.5])).code == "collision"


def test_a_model_that_is_too_slow_for_the_command_rate_is_refused():
    embodiment = load_embodiment(GOLDEN / "joint_robot.yaml")
    fast = replace(embodiment.rates, command_hz=1e6)
    with pytest.raises(ValueError, match="one check takes"):
        robot_of(replace(embodiment, rates=fast, model=MODEL))
