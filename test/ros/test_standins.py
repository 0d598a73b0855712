"""The stand-ins for control_msgs and moveit_msgs have the fields of the real ones, where those are installed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
STANDINS = ROOT / "interfaces"
REASON = "no {} here: a ROS installation (Jazzy, Kilted) has it, and runs this"
# As .action files write types -> as generated classes tell them.
TYPES = {"float64": "double", "bool": "boolean"}


def parts_of(file, package):
    """Fields of each part between '---', in their order, as get_fields_and_field_types tells them."""
    parts = []
    for text in re.split(r"^---.*$", file.read_text(), flags=re.MULTILINE):
        lines = [line.partition("#")[0].split() for line in text.splitlines()]
        fields = {line[1]: line[0] for line in lines if len(line) == 2}
        parts.append({name: told(kind, package) for name, kind in fields.items()})
    return parts


def told(kind, package):
    own = kind[0].isupper() and "/" not in kind
    return f"{package}/{kind}" if own else TYPES.get(kind, kind)


@pytest.mark.parametrize(
    "path",
    sorted(p for p in STANDINS.glob("*/*/*.*") if p.suffix in (".action", ".srv", ".msg")),
    ids=lambda p: p.name,
)
def test_a_stand_in_has_the_fields_of_the_real_one(path):
    package = path.parent.parent.name
    module = pytest.importorskip(f"{package}.{path.parent.name}", reason=REASON.format(package))
    if ROOT / "install" in Path(module.__file__).parents:
        pytest.skip(REASON.format(f"{package} but the one built from these very definitions"))
    kind = getattr(module, path.stem)
    names = {".action": ("Goal", "Result", "Feedback"), ".srv": ("Request", "Response")}
    real = [getattr(kind, name) for name in names.get(path.suffix, ())] or [kind]
    assert [part.get_fields_and_field_types() for part in real] == parts_of(path, package)


@pytest.mark.parametrize("name", ["GripperCommand", "ParallelGripperCommand"])
def test_goals_fit_the_real_actions(name):
    """A goal with the wrong type in a field is refused by the class itself."""
    actions = pytest.importorskip("control_msgs.action", reason=REASON.format("control_msgs"))
    from vla_policy.embodiment import load_embodiment
    from vla_policy.embodiment.layout import layout_of
    from vla_policy.ros.messages.optional_types import gripper_action
    from vla_policy.ros.outputs.goals import goal_of

    robot, output = {
        "GripperCommand": ("fr3", "gripper_command"),
        "ParallelGripperCommand": ("ur5e_2f85", "parallel_gripper_command"),
    }[name]
    robot = load_embodiment(robot)
    kind = gripper_action(output, "the test")
    assert kind is getattr(actions, name)
    part = next(p for p in layout_of(robot).parts if p.group == "hand")
    hand = robot.outputs["hand"]
    for value, position in ((0.0, hand.closed), (1.0, hand.open)):
        command = goal_of(kind, value, part, hand).command
        if name == "GripperCommand":
            assert (command.position, command.max_effort) == (position, hand.max_effort)
        else:
            assert list(command.position) == [position] and list(command.name) == [hand.joint]
            assert list(command.effort) == [hand.max_effort]
