"""Mistakes in robot files: each is found, with the line that has it, and errors keep the file from loading."""

from pathlib import Path

import pytest

from vla_policy.check.embodiment import check_embodiment
from vla_policy.embodiment import embodiment_names, load_embodiment
from vla_policy.embodiment.findings import ERROR, WARNING
from vla_policy.paths import config_dir

FRONT = "front: {topic: front/image_raw"
WRIST = "wrist: {topic: wrist/image_raw"

# robot, (text, what stands there instead), ..., level, words of the finding, what its line has
MISTAKES = {
    "degrees": ("vx300s", [("upper: [3.14158,", "upper: [180.0,")], ERROR, ("degrees", "3.14159"), "upper:"),
    "more_than_a_turn": ("vx300s", [("upper: [3.14158,", "upper: [7.0,")], WARNING, ("waist", "a turn"), "upper:"),
    "inverted_limits": ("vx300s", [("1.25664", "-1.9")], ERROR, ("more than lower", "shoulder"), "upper:"),
    "missing_limit": ("vx300s", [("    linear_speed_m_s: 0.50\n", "")], ERROR, ("no default", "linear_speed_m_s"), "arm:"),
    "missing_limits_of_a_group": ("vx300s", [("  hand:\n    gripper_speed_per_s: 6.0\n", "")], ERROR, ("no default",), "limits:"),
    "unit": ("fr3", [("  unit: rad\n  lower", "  unit: m\n  lower")], ERROR, ("the unit of the joints",), "unit: rad"),
    "fingers": ("vx300s", [("name: vx300s", "name: mine"), ("closed: 0.021, open: 0.057", "closed: 0.057, open: 0.021")],
                WARNING, ("would close to open",), "open: 0.021"),
    "knuckle": ("ur5e_2f85", [("name: ur5e_2f85", "name: mine"), ("closed: 0.8, open: 0.0", "closed: 0.0, open: 0.8")],
                WARNING, ("would close to open",), "open: 0.8"),
    "shipped_gripper": ("ur5e_2f85", [("closed: 0.8, open: 0.0", "closed: 0.0, open: 0.8")],
                        ERROR, ("it would close to open", "the shipped ur5e_2f85"), "open: 0.8"),
    "shipped_sense": ("vx300s", [("    open: 1.0\n    closed: 0.0", "    open: 0.0\n    closed: 1.0")],
                      ERROR, ("its policies would be misread",), "open: 0.0"),
    "swapped_cameras": ("vx300s", [(FRONT, "front: {topic: @"), (WRIST, "wrist: {topic: front/image_raw"), ("@", "wrist/image_raw")],
                        ERROR, ("swapped",), "front: {topic: wrist/image_raw"),
    "compressed_as_raw": ("ur5e_servo", [("side: {topic: side_camera/color/image_raw/compressed, type: compressed",
                                          "side: {topic: side_camera/color/image_raw/compressed, type: image")],
                          ERROR, ("CompressedImage",), "type: image"),
    "frame": ("vx300s", [("    frame: base_link", "    frame: world")], ERROR, ("world", "base_link"), "frame: world"),
    "tool_is_base": ("vx300s", [("tool_frame: ee_gripper_link", "tool_frame: base_link")], ERROR, ("both 'base_link'",), "tool_frame:"),
    "command_rate": ("vx300s", [("command_hz: 50", "command_hz: 5")], ERROR, ("at least policy_hz",), "command_hz: 5"),
    "servo_rate": ("ur5e_servo", [("command_hz: 50", "command_hz: 12")], ERROR, ("command_hz of at least 20",), "servo_twist"),
    "chunk_age": ("vx300s", [("max_chunk_age_s: 1.2", "max_chunk_age_s: 0.15")], ERROR, ("second row",), "max_chunk_age_s"),
    "relative_to_what_is_forgotten": ("xarm7", [("max_chunk_age_s: 1.5", "max_chunk_age_s: 2.5")], WARNING,
                                      ("2.5 s old", "'arm'", "2 s"), "max_chunk_age_s"),
    "joint_age": ("vx300s", [("  max_age_s: 0.25\nee_pose", "  max_age_s: 0.02\nee_pose")], ERROR, ("most would be held",), "max_age_s: 0.02"),
    "own_input": ("vx300s", [("arm: {type: pose, topic: target_pose}", "arm: {type: pose, topic: /ee_pose}")],
                  ERROR, ("where the pose of ee is heard",), "/ee_pose"),
    "two_publishers": ("vx300s", [("topic: gripper_controller/commands", "topic: /target_pose")],
                       ERROR, ("two publishers",), "/target_pose"),
    "type": ("fr3", [("arm: {type: joint_trajectory,", "arm: {type: float64_multi_array,")],
             WARNING, ("matches type joint_trajectory",), "float64_multi_array"),
    "joint_name": ("fr3", [("state: [joint.fr3_joint1,", "state: [joint.fr3_jiont1,")],
                   ERROR, ("did you mean 'joint.fr3_joint1'",), "fr3_jiont1"),
    "quaternion": ("vx300s", [("state: [ee.x, ee.y, ee.z, ee.qx, ee.qy, ee.qz, ee.qw", "state: [ee.x, ee.y, ee.z, ee.qw, ee.qx, ee.qy, ee.qz")],
                   ERROR, ("qw qx qy qz", "ee.qx, ee.qy, ee.qz, ee.qw"), "state:"),
    "rotation": ("vx300s", [("rotation: quaternion_xyzw", "rotation: quaternion_wxyz")], ERROR, ("did you mean 'quaternion_xyzw'",), "rotation:"),
    "columns": ("vx300s", [("    names: [ee.x, ee.y, ee.z, ee.qx, ee.qy, ee.qz, ee.qw]", "    names: [ee.x, ee.y, ee.z, ee.qw, ee.qx, ee.qy, ee.qz]")],
                ERROR, ("expected", "'ee.qx', 'ee.qy', 'ee.qz', 'ee.qw'"), "names: [ee.x"),
    "shared_joint": ("tiago", [("also: [gripper_left_finger_joint]", "also: [arm_1_joint]")], ERROR, ("commanded by group 'arm' too",), "arm_1_joint]"),
    "prefix": ("aloha", [("joint_trajectory, prefix: right/}", "joint_trajectory, prefix: left/}")], ERROR, ("in joints.topic", "left/"), "right_arm:"),
    "fast": ("fr3", [("joint_speed_per_s: [1.31,", "joint_speed_per_s: [15,")], WARNING, ("more than a turn a second", "0.262"), "joint_speed_per_s"),
}  # fmt: skip


def edited(folder: Path, name: str, edits: list[tuple[str, str]]) -> Path:
    """A copy of a shipped robot file with each text replaced once."""
    text = (config_dir() / "embodiments" / f"{name}.yaml").read_text()
    for old, new in edits:
        assert old in text, f"{name} has no {old!r}"
        text = text.replace(old, new, 1)
    file = folder / "robot.yaml"
    file.write_text(text)
    return file


def line_of(where: str) -> str:
    """The text at 'file:line'."""
    file, _, number = where.rpartition(":")
    return Path(file).read_text().splitlines()[int(number) - 1]


@pytest.mark.parametrize("name", embodiment_names())
def test_nothing_is_found_in_the_shipped_robots(name):
    assert check_embodiment(name) == ()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found_with_their_line(mistake, tmp_path):
    name, edits, level, words, line = MISTAKES[mistake]
    file = edited(tmp_path, name, edits)
    found = [
        f
        for f in check_embodiment(file)
        if f.level == level and all(w in f"{f.says} {f.change}" for w in words)
    ]
    assert found, [str(f) for f in check_embodiment(file)]
    assert line in line_of(found[0].where)


@pytest.mark.parametrize("mistake", [m for m, row in MISTAKES.items() if row[2] == ERROR])
def test_what_cannot_be_meant_is_not_loaded(mistake, tmp_path):
    name, edits, _, _, _ = MISTAKES[mistake]
    file = edited(tmp_path, name, edits)
    with pytest.raises(ValueError, match=rf"{file}:\d+: "):
        load_embodiment(file)


@pytest.mark.parametrize("mistake", [m for m, row in MISTAKES.items() if row[2] == WARNING])
def test_what_may_be_meant_is_loaded(mistake, tmp_path):
    name, edits, _, _, _ = MISTAKES[mistake]
    assert load_embodiment(edited(tmp_path, name, edits)).actions


def test_a_robot_that_is_not_there_is_said_in_one_sentence():
    with pytest.raises(ValueError, match="expected one of"):
        check_embodiment("vx3000")
    with pytest.raises(ValueError, match="cannot be read"):
        check_embodiment("/nowhere/robot.yaml")


def test_a_file_that_is_not_yaml_has_its_line(tmp_path):
    file = edited(tmp_path, "vx300s", [("lower: [-3.14158,", "lower: -3.14158],")])
    (finding,) = check_embodiment(file)
    assert "lower" in line_of(finding.where)


def test_all_errors_are_told_at_once(tmp_path):
    edits = [("upper: [3.14158,", "upper: [180.0,"), ("max_chunk_age_s: 1.2", "max_chunk_age_s: 0.1")]  # fmt: skip
    with pytest.raises(ValueError) as refused:
        load_embodiment(edited(tmp_path, "vx300s", edits))
    assert "degrees" in str(refused.value) and "second row" in str(refused.value)
