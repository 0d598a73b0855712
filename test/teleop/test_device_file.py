"""A device's file: what is shipped loads and fits its robot, and every mistake is refused with got, expected and where."""

import copy
from pathlib import Path

import pytest
import yaml

from vla_policy.embodiment import load_embodiment
from vla_policy.parsing.fields import Place
from vla_policy.paths import config_dir
from vla_policy.teleop.device_file import device_names, load_device, parse_device
from vla_policy.teleop.follower import follower_of

FOLDER = config_dir() / "teleop"


def content(name):
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


def refusal(content, name="device"):
    with pytest.raises(ValueError) as error:
        parse_device(content, Place("device.yaml"), name)
    return str(error.value)


@pytest.mark.parametrize(
    ("device", "robot"),
    [
        ("gamepad", "vx300s"),
        ("gamepad", "ur5e_2f85"),
        ("gamepad", "ur5e_servo"),
        ("spacemouse", "panda_cartesian"),
        ("keyboard", "vx300s_mobile"),
        ("hand", "vx300s"),
        ("so101_leader", "so101"),
        ("gello_ur5e", "ur5e_2f85"),
    ],
)
def test_a_shipped_device_drives_its_robot(device, robot):
    follower = follower_of(load_embodiment(robot), load_device(device))
    assert follower.arm in follower.driven


def test_every_shipped_device_loads():
    assert {load_device(name).kind for name in device_names()} == {
        "gamepad", "spacemouse", "keyboard", "hand", "leader"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("device", "robot", "arm", "expected"),
    [
        ("so101_leader", "vx300s", "", "arm is not commanded by joints"),
        ("so101_leader", "ur5e_2f85", "", "joints: got joint.shoulder_pan"),
        ("hand", "so101", "", "not commanded by its pose"),
        ("gamepad", "xarm7", "", "joint_axes: got 6 axes, expected 7"),
        ("gamepad", "vx300s_pair", "", "arm: got none, expected one of"),
        ("gamepad", "vx300s", "leg", "arm: got 'leg', expected one of arm"),
    ],
)
def test_a_device_that_cannot_drive_a_robot_is_refused(device, robot, arm, expected):
    with pytest.raises(ValueError, match=r"device|arm") as error:
        follower_of(load_embodiment(robot), load_device(device), arm)
    assert expected in str(error.value)


def test_one_of_two_arms_is_driven_with_its_own_gripper():
    robot = load_embodiment("vx300s_pair")
    arms = [group.name for group in robot.actions if group.space == "ee_pose"]
    for arm in arms:
        follower = follower_of(robot, load_device("gamepad"), arm)
        side = follower.arm.source.rpartition(".")[0]
        assert side and follower.gripper.source.startswith(side)


def test_an_unknown_device_names_those_that_there_are():
    with pytest.raises(ValueError, match="got 'joystick', expected one of gamepad"):
        load_device("joystick")


@pytest.mark.parametrize("name", device_names())
def test_every_key_that_is_left_out_or_unknown_is_refused(name):
    given = content(name)
    for key in ("kind", "topic", "type", "max_age_s", "stamps", "dead_man", "speed"):
        less = {k: v for k, v in given.items() if k != key}
        assert f"{key}: got" in refusal(less)
    assert "got an unknown key, expected" in refusal({**given, "sped": 1.0})


@pytest.mark.parametrize(
    ("name", "path", "value", "expected"),
    [
        ("gamepad", ["dead_man"], "centre", "what has to be held, as {button: 5}"),
        ("gamepad", ["dead_man", "button"], 1.5, "a whole number"),
        ("gamepad", ["type"], "pose", "expected one of joy"),
        ("gamepad", ["speed"], 1.1, "a number from 0.01 to 1"),
        ("gamepad", ["max_age_s"], 0.0, "a number from 0.01 to 10 s"),
        ("gamepad", ["axes", "vq"], {"axis": 1}, "expected one of vx"),
        ("gamepad", ["axes", "vx", "full"], 0.0, "another value than rest"),
        ("gamepad", ["events", "pause"], 5, "a button other than that of dead_man"),
        ("gamepad", ["events", "pause"], 1, "a button other than that of take_over"),
        ("gamepad", ["topic"], "a b", "a ROS topic name"),
        ("keyboard", ["dead_man"], "always", "expected one of centre"),
        ("hand", ["dead_man"], "centre", "what has to be held, as {topic: hand_clutch}"),
        ("hand", ["max_step_m"], 2.0, "a number from 0.001 to 1 m"),
        ("hand", ["turn_rad"], [0.0, 0.0], "expected 3 values"),
        ("so101_leader", ["joints", "joint.elbow_flex", "sign"], 0.5, "1 or -1"),
        ("so101_leader", ["joints", "joint.elbow_flex", "range"], [1.0, -1.0], "the larger"),
        ("so101_leader", ["dead_man"], "centre", "always"),
        ("so101_leader", ["ease_s"], 0.0, "a number from 0.1 to 10 s"),
        ("gello_ur5e", ["gripper", "open"], 0.0, "another value than closed"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(name, path, value, expected):
    given = copy.deepcopy(content(name))
    at = given
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    said = refusal(given)
    assert said.startswith("device.yaml: ") and expected in said
    assert path[-1] in said or path[0] in said


def test_a_file_is_refused_with_its_line(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text((FOLDER / "gamepad.yaml").read_text().replace("speed: 0.5", "speed: fast"))
    with pytest.raises(ValueError, match=r"mine.yaml:7: speed: got 'fast', expected a number"):
        load_device(str(file))
