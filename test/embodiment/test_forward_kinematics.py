"""Forward kinematics against a chain worked out by hand, from a URDF and from an MJCF."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_policy.embodiment import Model, load_embodiment
from vla_policy.embodiment.forward_kinematics import ForwardKinematics
from vla_policy.geometry.rotation_formats import rotate

pytest.importorskip("mujoco")

URDF = """<robot name="two">
  <link name="base_link"/><link name="upper"><inertial><mass value="1"/>
    <inertia ixx="1" ixy="0" ixz="0" iyy="1" iyz="0" izz="1"/></inertial></link>
  <link name="tool"><inertial><mass value="1"/>
    <inertia ixx="1" ixy="0" ixz="0" iyy="1" iyz="0" izz="1"/></inertial></link>
  <joint name="turn" type="revolute"><parent link="base_link"/><child link="upper"/>
    <origin xyz="0 0 0.5"/><axis xyz="0 0 1"/><limit lower="-3" upper="3" effort="1" velocity="1"/></joint>
  <joint name="reach" type="prismatic"><parent link="upper"/><child link="tool"/>
    <origin xyz="0.2 0 0"/><axis xyz="1 0 0"/><limit lower="0" upper="1" effort="1" velocity="1"/></joint>
</robot>"""
MJCF = """<mujoco><worldbody><body name="base_link" pos="3 2 1" quat="0 0 0 1">
  <body name="upper" pos="0 0 0.5"><joint name="turn" axis="0 0 1"/><geom size="0.1"/>
    <body name="tool" pos="0.2 0 0"><joint name="reach" type="slide" axis="1 0 0"/><geom size="0.1"/>
</body></body></body></worldbody></mujoco>"""


def kinematics(tmp_path, text, body="tool"):
    file = tmp_path / ("robot.urdf" if text is URDF else "robot.xml")
    file.write_text(text)
    robot = load_embodiment(Path(__file__).parents[1] / "golden" / "joint_robot.yaml")
    joints = replace(robot.joints, names=("reach", "turn"))
    model = Model(file, 0.01, (), 0.0, 0.0)
    return ForwardKinematics(replace(robot, joints=joints, model=model), body)


@pytest.mark.parametrize("text", [URDF, MJCF], ids=["urdf", "mjcf"])
def test_the_tool_in_the_base_frame_wherever_the_base_is(tmp_path, text):
    """The joints come in the order of the description, not of the file; the MJCF's base is turned."""
    found = kinematics(tmp_path, text)
    for reach, turn in ((0.0, 0.0), (0.3, 0.7), (1.0, -2.0)):
        pose = found.pose(np.array([reach, turn]))
        length = 0.2 + reach
        assert pose[:3] == pytest.approx([length * np.cos(turn), length * np.sin(turn), 0.5])
        forward = rotate(pose[3:], np.array([1.0, 0.0, 0.0]))
        assert forward == pytest.approx([np.cos(turn), np.sin(turn), 0.0])


def test_what_the_model_lacks_is_named_with_what_it_has(tmp_path):
    with pytest.raises(ValueError, match=r"no body 'hand'; it has .*upper, tool"):
        kinematics(tmp_path, URDF, body="hand")
    with pytest.raises(ValueError, match="no joint 'reach'; it has turn"):
        kinematics(tmp_path, MJCF.replace('"reach"', '"extend"').replace('name="extend" ', ""))
    with pytest.raises(ValueError, match="cannot be read as a URDF or MJCF"):
        kinematics(tmp_path, "<robot>")
