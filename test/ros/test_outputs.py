"""Messages to controllers, made from guarded setpoints, held against the controllers' rules."""

import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from unittest.mock import create_autospec

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.lifecycle import LifecycleNode  # noqa: E402

from vla_policy.embodiment import load_embodiment  # noqa: E402
from vla_policy.embodiment.joint_units import degrees  # noqa: E402
from vla_policy.embodiment.layout import layout_of  # noqa: E402
from vla_policy.ros.bringup.endpoints import command_topics, shadow_topic  # noqa: E402
from vla_policy.ros.outputs.direct import gripper_position  # noqa: E402
from vla_policy.ros.outputs.goals import goal_of  # noqa: E402
from vla_policy.ros.outputs.outputs import Outputs  # noqa: E402
from vla_policy.ros.outputs.trajectory import GripperTarget, JointTarget  # noqa: E402
from vla_policy.ros.process.change_log import ChangeLogger  # noqa: E402
from vla_policy.ros.simulation.mock_controllers import trajectory_of  # noqa: E402
from vla_policy.sim.mock.controller_rules import trajectory_refusal  # noqa: E402
from vla_policy.types import Command  # noqa: E402

START_NS = 1_700_000_000_000_000_000
JOINT_ROBOT = Path(__file__).resolve().parent.parent / "golden" / "joint_robot.yaml"


def part_of(robot, group):
    return next(p for p in layout_of(robot).parts if p.group == group)


def target_of(robot, group, kind=JointTarget):
    return kind(robot, part_of(robot, group), robot.outputs[group])


def test_a_steady_motion_goes_out_with_its_velocity_and_a_way_to_rest():
    robot = load_embodiment("fr3")
    target = target_of(robot, "arm")
    step = np.array([0.01, 0.0, 0.0, -0.02, 0.0, 0.0, 0.0])
    here = np.array([0.0, 0.0, 0.0, -1.5, 0.0, 1.5, 0.0])
    now_ns = START_NS + 3 * robot.period_ns
    msg = target.message(here + 3 * step, step / 0.02, now_ns)
    first, stop, rest = msg.points
    assert msg.joint_names == list(robot.joint_names)
    assert first.velocities == pytest.approx((step / 0.02).tolist())
    assert first.positions[0] == pytest.approx(0.03)
    # 1 rad/s against 5 rad/s^2: 0.2 s; the other joint stops at the same time.
    stop_s = (stop.time_from_start.nanosec - first.time_from_start.nanosec) / 1e9
    assert stop_s == pytest.approx(0.2)
    assert stop.positions[0] == pytest.approx(0.03 + 0.5 * 0.5 * 0.2)
    assert not any(stop.velocities) and not any(rest.velocities)
    assert rest.positions == stop.positions
    assert trajectory_refusal(trajectory_of(msg), robot.joint_names, now_ns + 50_000_000) is None


def test_no_rate_is_faster_than_the_joints_may_go_and_a_rate_of_zero_stays():
    robot = load_embodiment("fr3")
    target, here = target_of(robot, "arm"), np.array([0.0, 0.0, 0.0, -1.5, 0.0, 1.5, 0.0])
    fast = target.message(here, np.full(7, 100.0), START_NS).points[0]
    limits = robot.limits.groups["arm"].joint_speed_per_s
    assert fast.velocities == pytest.approx(limits.tolist())
    still = target.message(here, np.zeros(7), START_NS)
    assert not any(any(point.velocities) for point in still.points)
    assert {tuple(point.positions) for point in still.points} == {tuple(here)}


def test_two_arms_get_their_own_names_back_and_wire_units_go_both_ways():
    robot = load_embodiment("aloha")
    left = target_of(robot, "left_arm")
    assert left.names == [n.removeprefix("left/") for n in robot.joint_names[:6]]
    hand = target_of(robot, "right_hand", GripperTarget)
    msg = hand.message(np.array([1.0]), np.zeros(1), START_NS)
    assert msg.joint_names == ["left_finger"]
    assert [p.positions[0] for p in msg.points] == pytest.approx([0.057] * 3)
    arm = load_embodiment("fr3")
    in_degrees = replace(arm, joints=replace(arm.joints, wire=degrees(7)))
    here = np.array([0.0, 0.0, 0.0, -1.5, 0.0, 1.5, 0.0])
    target = target_of(in_degrees, "arm")
    point = target.message(here + 0.01, np.full(7, 0.5), START_NS).points[0]
    assert point.positions[3] == pytest.approx(np.rad2deg(-1.49))
    assert point.velocities[3] == pytest.approx(np.rad2deg(0.5))


def test_fingers_that_move_alike_are_all_told():
    robot = load_embodiment("tiago")
    msg = target_of(robot, "hand", GripperTarget).message(np.array([0.5]), np.zeros(1), START_NS)
    assert msg.joint_names == ["gripper_right_finger_joint", "gripper_left_finger_joint"]
    assert list(msg.points[0].positions) == pytest.approx([0.022, 0.022])


@pytest.mark.parametrize(("value", "position"), [(0.0, 0.8), (1.0, 0.0), (0.25, 0.6)])
def test_a_gripper_that_closes_upwards_is_told_in_its_own_sense(value, position):
    robot = load_embodiment("ur5e_2f85")
    part, output = part_of(robot, "hand"), robot.outputs["hand"]
    assert gripper_position(value, part, output) == pytest.approx(position)
    inverted = replace(part, opens_up=False)
    assert gripper_position(1.0 - value, inverted, output) == pytest.approx(position)


def test_goals_of_both_actions():
    command = SimpleNamespace(position=0.0, max_effort=0.0)
    kind = SimpleNamespace(Goal=lambda: SimpleNamespace(command=command))
    robot = load_embodiment("fr3")
    goal = goal_of(kind, 0.5, part_of(robot, "hand"), robot.outputs["hand"])
    assert (goal.command.position, goal.command.max_effort) == (0.02, 40.0)
    robot = load_embodiment("ur5e_2f85")
    goal = goal_of(kind, 1.0, part_of(robot, "hand"), robot.outputs["hand"])
    assert list(goal.command.name) == ["robotiq_85_left_knuckle_joint"]
    assert list(goal.command.position) == [0.0] and list(goal.command.effort) == [50.0]


@pytest.fixture
def node(ros):
    node = LifecycleNode("outputs_under_test")
    yield node
    node.destroy_node()


@pytest.mark.parametrize("name", ["fr3", "ur5e_servo", "tiago", "aloha"])
def test_in_shadow_a_robot_needs_no_messages_of_its_controllers(node, name):
    """Everything is published below shadow/, with the types that the data of the graph says."""
    robot = load_embodiment(name)
    outputs = Outputs(node, robot, create_autospec(ChangeLogger, instance=True), shadow=True)
    try:
        found = {
            topic: kinds[0]
            for topic, kinds in node.get_publisher_names_and_types_by_node(node.get_name(), "/")
            if topic.startswith("/shadow/")
        }
        assert found == {f"/{t}": kind for t, kind in command_topics(robot, shadow=True)}
        assert outputs.problems() == ()
        layout = layout_of(robot)
        values = np.zeros(len(layout.names))
        outputs.send(Command(values, layout.names, START_NS))  # nothing is active, nothing raises
        outputs.send(Command(values[:0], (), START_NS))
    finally:
        outputs.close()


def test_without_control_msgs_a_gripper_action_is_refused_with_the_cure(node, monkeypatch):
    for name in ["control_msgs", *(n for n in sys.modules if n.startswith("control_msgs."))]:
        monkeypatch.setitem(sys.modules, name, None)  # those imported before are found without it
    log = create_autospec(ChangeLogger, instance=True)
    with pytest.raises(ValueError, match=r"'hand'.*needs the messages of control_msgs.*install"):
        Outputs(node, load_embodiment("fr3"), log)
    topics = node.get_publisher_names_and_types_by_node(node.get_name(), "/")
    assert not [t for t, _ in topics if "joint_trajectory" in t]  # what was made is given back


def test_a_shadow_topic_is_relative_to_the_namespace():
    assert shadow_topic("target_pose") == "shadow/target_pose"
    assert shadow_topic("/left/commands") == "shadow/left/commands"


def test_a_pose_from_tf_without_tf_is_refused_with_the_cure(node, monkeypatch):
    from vla_policy.embodiment import PoseSource
    from vla_policy.ros.inputs.policy_inputs import PolicyInputs

    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    source = PoseSource("tf of tool0", 0.2, "tf", "tool0")
    robot = replace(load_embodiment(JOINT_ROBOT), poses=MappingProxyType({"ee": source}))
    log = create_autospec(ChangeLogger, instance=True)
    with pytest.raises(ValueError, match=r"lacks tf2_ros; install .* topic or model_body"):
        PolicyInputs(node, robot, log, lambda *_: None)
