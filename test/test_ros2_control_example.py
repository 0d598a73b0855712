"""The mock hardware of examples/ros2_control has the joints, ranges and controllers of the robots' files."""

import runpy
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from vla_policy.embodiment import load_embodiment

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "ros2_control"
LAUNCH = runpy.run_path(str(FOLDER / "mock_hardware.launch.py"))
# Output type -> the controller's type, its parameter of joints, the end of its topic or action.
KINDS = {
    "joint_trajectory": ("joint_trajectory_controller/JointTrajectoryController", "joints", "joint_trajectory"),
    "float64_multi_array": ("forward_command_controller/ForwardCommandController", "joints", "commands"),
    "parallel_gripper_command": ("parallel_gripper_action_controller/GripperActionController", "joint", "gripper_cmd"),
}  # fmt: skip
robots = pytest.mark.parametrize("name", LAUNCH["ROBOTS"])


@robots
def test_the_description_has_the_joints_and_ranges_of_the_robot(name):
    robot = load_embodiment(name)
    tree = ElementTree.parse(FOLDER / f"{name}.urdf").getroot()
    limits = {j.get("name"): j.find("limit") for j in tree.findall("joint")}
    names = robot.joints.names
    assert list(limits)[: len(names)] == list(names)
    for key, values in (
        ("lower", robot.joints.lower),
        ("upper", robot.joints.upper),
        ("velocity", robot.limits.groups["arm"].joint_speed_per_s),
    ):
        np.testing.assert_array_equal([float(limits[n].get(key)) for n in names], values)
    hand = robot.outputs.get("hand")
    if hand is not None:
        ends = sorted((hand.open, hand.closed))
        assert [float(limits[hand.joint].get(key)) for key in ("lower", "upper")] == ends
    links = {link.get("name") for link in tree.findall("link")}
    assert {robot.base_frame, robot.tool_frame} <= links
    ends = [j.find(end).get("link") for j in tree.findall("joint") for end in ("parent", "child")]
    assert set(ends) == links
    hardware = tree.find("ros2_control")
    assert hardware.findtext("hardware/plugin") == "mock_components/GenericSystem"
    assert [j.get("name") for j in hardware.findall("joint")] == list(limits)
    for joint in hardware.findall("joint"):
        assert [i.get("name") for i in joint.findall("command_interface")] == ["position"]
        assert [i.get("name") for i in joint.findall("state_interface")] == [
            "position",
            "velocity",
        ]


@robots
def test_the_controllers_listen_where_the_robot_s_file_sends(name):
    robot, (space, spawned) = load_embodiment(name), LAUNCH["ROBOTS"][name]
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    begin = f"/{space}/" if space else "/"
    managed = content[f"{begin}controller_manager"]["ros__parameters"]
    known = {n: v["type"] for n, v in managed.items() if isinstance(v, dict)}
    assert list(known) == list(spawned)
    topics = [robot.joints.topic]
    assert f"/{robot.joints.topic}" == f"{begin}joint_states"
    for group, output in robot.outputs.items():
        kind, parameter, end = KINDS[output.type]
        controller = output.topic.split("/")[-2]
        assert f"/{output.topic}" == f"{begin}{controller}/{end}"
        assert known[controller] == kind
        given = content[f"{begin}{controller}"]["ros__parameters"][parameter]
        columns = next(a.names for a in robot.actions if a.name == group)
        wanted = [n.removeprefix("joint.") for n in columns]
        assert given == (output.joint if parameter == "joint" else wanted)
        topics.append(output.topic)
    assert sorted(LAUNCH["MOVED"][name]) == sorted(topics)


@robots
def test_the_launch_file_describes_its_nodes(name):
    # Not `launch` itself: without ROS that is this repository's folder of launch files.
    launch = pytest.importorskip(
        "launch.launch_context", reason="runs where ROS's launch is, as in the ros jobs"
    )
    context = launch.LaunchContext()
    context.launch_configurations.update(robot=name, policy="none", cameras="true")
    assert len(LAUNCH["generate_launch_description"]().entities) == 4
    assert len(LAUNCH["_actions"](context)) == 5
