"""docs/your_own_robot.md: the description on the page is one, and its mistakes are told."""

import re
from pathlib import Path

import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.embodiment.spaces import SPACES
from vla_policy.ros.bringup.graph import node_specs
from vla_policy.sim.mock.robot import MockRobot

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "your_own_robot.md").read_text()


@pytest.fixture
def description():
    return re.search(r"```yaml\n(.*?)```", PAGE, re.S).group(1)


def test_the_description_on_the_page_is_a_robot(description, tmp_path):
    file = tmp_path / "my_arm.yaml"
    file.write_text(description)
    robot = load_embodiment(file)
    assert [part.kind for part in layout_of(robot).parts] == ["joints", "gripper"]
    mock = MockRobot(robot)
    assert ((robot.joints.lower < mock.joints) & (mock.joints < robot.joints.upper)).all()
    assert {spec.name for spec in node_specs(str(file), mock=True)} >= {
        "mock",
        "policy",
        "control",
    }


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("joint_speed_per_s:", "joint_sped_per_s:", "did you mean 'joint_speed_per_s'"),
        ("start_jump_rad: 0.2", "", "limits.arm.start_jump_rad: got nothing"),
        ("lower: [-3.14,", "lower: [3.15,", "more than lower"),
        ("joint.joint4, gripper]", "joint.joint5, gripper]", "joint.joint4"),
        ("max_effort: 5.0", "effort: 5.0", "outputs.hand.effort: got an unknown key"),
    ],
)
def test_mistakes_on_the_way_are_told_by_key(description, tmp_path, old, new, words):
    assert old in description
    file = tmp_path / "my_arm.yaml"
    file.write_text(description.replace(old, new).replace(", }", "}"))
    with pytest.raises(ValueError, match=re.escape(words)):
        load_embodiment(file)


def test_every_kind_of_output_is_on_the_page():
    outputs = {kind for space in SPACES.values() for kind in space.outputs}
    assert len(outputs) == 8
    assert not [kind for kind in outputs if f"`{kind}`" not in PAGE]
