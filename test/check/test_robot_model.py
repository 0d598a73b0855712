"""Robot files against URDF and MJCF."""

from pathlib import Path

import pytest

from vla_policy.check.embodiment import check_embodiment
from vla_policy.check.robot_model import read_model
from vla_policy.embodiment.findings import ERROR

ROBOT = Path(__file__).parents[1] / "golden" / "joint_robot.yaml"
NAMES = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
UPPER = (3.14158, 1.25664, 1.6057, 3.14158, 2.23402, 3.14158)
LOWER = (-3.14158, -1.85005, -1.76278, -3.14158, -1.8675, -3.14158)


def urdf(**changes: str) -> str:
    """The arm of joint_robot.yaml; changes: joint -> its whole element instead."""
    joints = {
        name: f'<joint name="{name}" type="revolute"><limit lower="{low}" upper="{high}" velocity="3"/></joint>'
        for name, low, high in zip(NAMES, LOWER, UPPER, strict=True)
    } | {"left_finger": '<joint name="left_finger" type="prismatic"><limit lower="0.02" upper="0.06"/></joint>'}  # fmt: skip
    joints |= changes
    return (
        '<robot name="arm"><link name="base_link"/><link name="ee_gripper_link"/>'
        f"{''.join(joints.values())}</robot>"
    )


def found(tmp_path: Path, text: str, robot: str = "") -> list[str]:
    model, file = tmp_path / "arm.xml", tmp_path / "robot.yaml"
    model.write_text(text)
    file.write_text(robot or ROBOT.read_text())
    return [str(f) for f in check_embodiment(file, model=model) if f.level == ERROR]


def test_the_arm_fits_its_urdf(tmp_path):
    assert found(tmp_path, urdf()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"elbow": '<joint name="elbow_joint" type="continuous"/>'}, ("no joint 'elbow'", "'elbow_joint'")),
        ({"elbow": '<joint name="elbow" type="prismatic"><limit lower="0" upper="2"/></joint>'}, ("slides", "unit: m")),
        ({"waist": '<joint name="waist" type="revolute"><limit lower="-2" upper="2"/></joint>'}, ("outside the model's -2",)),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_urdf(changes, words, tmp_path):
    told = " ".join(found(tmp_path, urdf(**changes)))
    assert all(word in told for word in words), told


def test_degrees_and_frames_are_seen_beside_the_urdf(tmp_path):
    text = ROBOT.read_text().replace("1.25664", "6.0").replace("ee_gripper_link", "gripper_tip")
    small = (
        '<joint name="shoulder" type="revolute"><limit lower="-1.85005" upper="0.10472"/></joint>'
    )
    told = found(tmp_path, urdf(shoulder=small), text)
    assert any("6 is outside the model's 0.10472 rad: degrees?" in t for t in told)
    assert any("no link or body 'gripper_tip'" in t and "ee_gripper_link" in t for t in told)
    line = 1 + next(n for n, t in enumerate(text.splitlines()) if "upper: [3.14158" in t)
    assert any(t.startswith(f"{tmp_path / 'robot.yaml'}:{line}: joints.upper[1]") for t in told)


def test_an_mjcf_is_compiled(tmp_path):
    pytest.importorskip("mujoco", reason="run in the environment of make setup")
    file = tmp_path / "arm.xml"
    file.write_text(
        "<mujoco><worldbody><body name='arm'><joint name='turn' range='-90 90'/><geom size='.1'/>"
        "<body name='slider'><joint name='push' type='slide' range='0 0.1'/><geom size='.1'/>"
        "<site name='tip'/></body></body></worldbody></mujoco>"
    )
    model = read_model(file)
    assert model.joints["turn"].turns and abs(model.joints["turn"].upper - 1.5708) < 1e-3
    assert not model.joints["push"].turns and model.joints["push"].upper == 0.1
    assert {"arm", "slider", "tip"} <= set(model.bodies)


@pytest.mark.parametrize("text", ["<robot", "<html/>", ""])
def test_what_is_no_model_is_said(text, tmp_path):
    (told,) = found(tmp_path, text)
    assert "arm.xml" in told
