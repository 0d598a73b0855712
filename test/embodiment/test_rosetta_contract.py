"""A Rosetta contract becomes a robot's file that says what the contract says, and that nobody can use before it is complete."""

from __future__ import annotations

import pytest

from vla_policy.cli import main
from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.rosetta_contract import FILL, draft_robot_file

CONTRACT = """
x-qos: &fast {reliability: best_effort, history: keep_last, depth: 10}
robot_type: porter
robot_interface: ros2
fps: 20
observations:
  observation.images.scene.left:
    channel: {topic: /left_cam/image/compressed, type: sensor_msgs/msg/CompressedImage, qos: *fast}
    align: {strategy: hold, timeline: header}
    apply: [resize: [224, 224]]
  observation.images.hand:
    channel: {topic: /hand_cam/image, type: sensor_msgs/msg/Image}
    align: {strategy: asof, timeline: header, tolerance_ms: 50}
  observation.state:
    - channel: {topic: /arm/joint_states, type: sensor_msgs/msg/JointState}
      align: {strategy: hold, timeline: header}
      select: [position.lift, position.turn, velocity.turn]
      apply: [rad2deg]
    - channel: {topic: /odom, type: nav_msgs/msg/Odometry}
      align: {strategy: hold, timeline: header}
      select: [twist.twist.linear.x]
actions:
  action:
    channel: {topic: /arm/commands, type: trajectory_msgs/msg/JointTrajectory, safety: hold}
    align: {strategy: hold, timeline: header}
    select: [position.lift, position.turn]
    apply: [rad2deg]
  action.base:
    channel: {topic: /cmd_vel, type: geometry_msgs/msg/TwistStamped, safety: zeros}
    align: {strategy: hold, timeline: header}
    select: [twist.linear.x, twist.angular.z]
    apply: [clamp: {min: -0.5, max: 0.5}]
"""
WRITTEN = {
    "base_frame": "base_link",
    "tool_frame": "tool0",
    "command_hz": "50",
    "camera_max_skew_s": "0.1",
    "frame": "base_link",
}


@pytest.fixture
def contract(tmp_path):
    file = tmp_path / "porter.yaml"
    file.write_text(CONTRACT)
    return file


def completed(text):
    """What a person writes: numbers everywhere, names where names belong."""
    lines = []
    for line in text.splitlines():
        key = line.strip().split(":")[0]
        lower = "-1.5" if key == "lower" else "1.5"
        lines.append(line.replace(FILL, WRITTEN.get(key, lower if key in ("lower", "upper") else "0.5")))  # fmt: skip
    return "\n".join(lines)


def test_what_the_contract_says_is_there(contract, tmp_path):
    file = tmp_path / "robot.yaml"
    file.write_text(completed(draft_robot_file(contract)))
    robot = load_embodiment(file)
    assert (robot.name, robot.policy_hz) == ("porter", 20.0)
    assert {n: (c.topic, c.type) for n, c in robot.cameras.items()} == {
        "scene_left": ("left_cam/image/compressed", "compressed"),
        "hand": ("hand_cam/image", "image"),
    }
    assert robot.joint_names == ("lift", "turn")
    assert tuple(robot.state_names) == ("joint.lift", "joint.turn")
    assert [(g.name, g.space) for g in robot.actions] == [("arm", "joint_position"), ("base", "base_twist")]  # fmt: skip
    assert robot.action_names == ("joint.lift", "joint.turn", "base.vx", "base.wz")
    assert {g: (o.type, o.topic) for g, o in robot.outputs.items()} == {
        "arm": ("joint_trajectory", "arm/commands"),
        "base": ("twist", "cmd_vel"),
    }


def test_what_it_does_not_say_is_refused_until_it_is_written(contract, tmp_path):
    text = completed(draft_robot_file(contract))
    file = tmp_path / "robot.yaml"
    draft = draft_robot_file(contract).splitlines()
    open_lines = [i for i, line in enumerate(draft) if FILL in line.partition("#")[0]]
    assert len(open_lines) > 15
    for i in open_lines:
        lines = text.splitlines()
        lines[i] = draft[i]
        file.write_text("\n".join(lines))
        with pytest.raises(ValueError, match=r"robot\.yaml:"):
            load_embodiment(file)


def test_what_has_no_place_is_listed(contract):
    text = draft_robot_file(contract)
    assert "#   observation.state: nav_msgs/msg/Odometry on /odom, twist.twist.linear.x" in text
    assert (
        "#   observation.state: sensor_msgs/msg/JointState on /arm/joint_states, velocity.turn"
        in text
    )
    assert "in degrees where it says rad2deg" in text


def test_a_command_that_no_controller_takes_stays_open(contract):
    contract.write_text(CONTRACT.replace("trajectory_msgs/msg/JointTrajectory", "sensor_msgs/msg/JointState"))  # fmt: skip
    assert f"arm: {{type: {FILL}, topic: arm/commands}}" in draft_robot_file(contract)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("fps: 20", "fps: fast", "fps: got 'fast', expected"),
        ("robot_type: porter\n", "", "robot_type: got nothing, expected it, as in every"),
        ("topic: /cmd_vel, ", "", "actions.action.base.channel.topic: got None"),
        ("select: [position.lift, position.turn]", "select: position.lift", "select: got 'position.lift', expected a list"),
        ("observations:", "observation:", "observations: got nothing"),
    ],
)  # fmt: skip
def test_what_is_no_contract_is_refused_with_its_place(contract, old, new, says, capsys):
    contract.write_text(CONTRACT.replace(old, new))
    assert main(["inspect", str(contract), "--robot-file"]) == 1
    assert says in capsys.readouterr().err
