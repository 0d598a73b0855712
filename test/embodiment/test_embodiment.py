"""Robot descriptions load, and no single mistake in one gets through."""

import math
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml

from vla_policy.embodiment import View, embodiment_names, load_embodiment
from vla_policy.embodiment.parse import parse_embodiment
from vla_policy.parsing.fields import Place
from vla_policy.paths import config_dir

JOINT_ROBOT = Path(__file__).parents[1] / "golden" / "joint_robot.yaml"
FREE_TEXT = ("name", "description", "tool_frame", "topic", "group", "joint", "servo")
OPTIONAL = ("also",)
FREE_KEYS = (("cameras",), ("joints", "topic"))


@cache
def read(name):
    return yaml.safe_load((config_dir() / "embodiments" / f"{name}.yaml").read_text())


def content(name):
    """The plain data of a shipped robot, for the caller to change."""
    return deepcopy(read(name))


def leaves(value, path=()):
    """Every (path, value) below value, containers too."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, entry in entries:
        yield (*path, key), entry
        if isinstance(entry, (dict, list)):
            yield from leaves(entry, (*path, key))


def parent_of(data, path):
    for key in path[:-1]:
        data = data[key]
    return data


def shown(path):
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def wrong_values(path, value):
    """Replacements for one value, none of which may be accepted."""
    yield from (None, object, {"surprise": 1}, [])
    if isinstance(value, bool):
        raise AssertionError("no switches in an embodiment")
    if isinstance(value, (int, float)):
        yield from (str(value), True, math.nan, math.inf, -math.inf, 1e12, -1e12, [value])
    if isinstance(value, str):
        yield from (7, "", " ", "not a name!" if path[-1] != "description" else "")
        free = path[-1] in FREE_TEXT or "names" in path or "also" in path
        if not free and path[0] != "base_frame":
            yield from (value + "x", value.upper())
    if isinstance(value, list):
        yield from (value[:-1], [*value, value[-1]], {"a": 1}, 3)
    if isinstance(value, dict):
        yield from ("text", 3)


def fields(name):
    """Every field of the demo robot; of the others the first entry of each list of plain values."""
    return [
        (path, value)
        for path, value in leaves(content(name))
        if name == "vx300s" or path[-1] in ("names", 0) or not isinstance(path[-1], int)
        or isinstance(value, (dict, list))
    ]  # fmt: skip


def corruptions(name, path, value):
    """The description with one field deleted, misspelt or wrong, and the path then at fault.

    Not among them: which cameras there are and which values the state has is the robot's own
    choice; whether a policy fits it is for the checkpoint's contract.
    """
    key = path[-1]
    if isinstance(key, str) and path[:-1] not in FREE_KEYS:
        data = content(name)
        del parent_of(data, path)[key]
        if key not in OPTIONAL:
            yield data, path
        data = content(name)
        parent_of(data, path)[key[0] + key] = parent_of(data, path).pop(key)
        yield data, (*path[:-1], key[0] + key)
    for wrong in wrong_values(path, value):
        if path == ("state",) and wrong == value[:-1]:
            continue
        if key == "names" and wrong == value[:-1] and "base.vx" in value:
            continue  # a base that has fewer axes
        data = content(name)
        parent_of(data, path)[key] = wrong
        yield data, path


@pytest.mark.parametrize("name", embodiment_names())
def test_every_single_field_corruption_is_refused(name):
    for path, value in fields(name):
        for data, at_fault in corruptions(name, path, value):
            try:
                parse_embodiment(data, Place("robot.yaml"))
                pytest.fail(f"accepted: another {shown(path)} in {data}")
            except ValueError as refused:
                message = str(refused)
            assert message.startswith("robot.yaml: "), shown(path)
            assert "expected" in message, shown(path)
            # A list too short is found by what must be as long, a prefix by what must have the same.
            if not isinstance(value, list) and path[:-1] != ("joints", "topic"):
                assert [k for k in at_fault if isinstance(k, str)][-1] in message, shown(path)


@pytest.mark.parametrize("name", embodiment_names())
def test_every_shipped_embodiment_loads(name):
    robot = load_embodiment(name)
    assert robot.name == name
    assert len(set(robot.action_names)) == len(robot.action_names)
    assert robot.columns(robot.actions[-1]).stop == len(robot.action_names)
    assert not robot.joints.lower.flags.writeable


def test_vx300s_says_what_its_file_says():
    robot = load_embodiment("vx300s")
    assert robot.action_names[:3] == ("ee.x", "ee.y", "ee.z")
    assert robot.action_names[-1] == "gripper"
    assert robot.step_ns == 100_000_000
    assert robot.period_ns == 20_000_000
    assert robot.columns(robot.group("gripper")) == slice(7, 8)
    assert robot.cameras["wrist"].max_age_s == 0.35
    assert robot.outputs["hand"].closed == 0.021
    with pytest.raises(ValueError, match="arm, hand"):
        robot.columns(replace(robot.actions[0], name="leg"))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("joints", "upper", 1), -1.85005, ("joints.upper[1]", "more than lower", "shoulder")),
        (
            ("limits", "arm", "workspace", "lower", 2),
            0.9,
            ("workspace.upper[2]", "more than lower"),
        ),
        (("rates", "command_hz"), 5, ("rates.command_hz", "at least policy_hz")),
        (("joints", "names", 1), "waist", ("joints.names[1]", "not there twice")),
        (("actions", 1, "group"), "arm", ("actions[1].group", "not there twice")),
        (("actions", 0, "space"), "ee_pos", ("actions[0].space", "did you mean 'ee_pose'")),
        (("actions", 0, "unit"), "mm", ("actions[0].unit", "one of m")),
        (("actions", 0, "rotation"), "quat", ("actions[0].rotation", "quaternion_xyzw")),
        (("actions", 0, "frame"), "world", ("actions[0].frame", "base_link")),
        (("actions", 1, "open"), 0.5, ("actions[1].open", "0", "1")),
        (("state", 3), "ee.qw", ("state[6]", "not there twice")),
        (("state", 7), "joint.waits", ("state[7]", "joint.waist")),
        (("cameras", "wrist", "topic"), "front/image_raw", ("cameras.wrist.topic", "twice")),
        (("outputs", "hand", "topic"), "target_pose", ("outputs.hand.topic", "twice")),
        (("outputs", "arm", "type"), "twist", ("outputs.arm.type", "pose")),
        (("outputs", "hand", "open"), 0.021, ("outputs.hand.open", "differs from closed")),
        (
            ("limits", "arm", "joint_speed_per_s"),
            [1.0] * 6,
            ("limits.arm.joint_speed_per_s", "unknown key"),
        ),
    ],
)
def test_contradictions_are_named(path, value, words):
    data = content("vx300s")
    parent_of(data, path)[path[-1]] = value
    with pytest.raises(ValueError) as refused:
        parse_embodiment(data, Place("robot.yaml"))
    for word in words:
        assert word in str(refused.value)


def test_unknown_key_names_its_nearest_neighbour():
    data = content("vx300s")
    arm = data["limits"]["arm"]
    arm["linear_sped_m_s"] = arm.pop("linear_speed_m_s")
    with pytest.raises(
        ValueError, match=r"limits.arm.linear_sped_m_s.*did you mean 'linear_speed_m_s'"
    ):
        parse_embodiment(data, Place("robot.yaml"))


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    file = tmp_path / "twice.yaml"
    text = (config_dir() / "embodiments" / "vx300s.yaml").read_text()
    file.write_text(text + "\nname: other\n")
    with pytest.raises(ValueError, match=r"twice.yaml.*'name' is there twice"):
        load_embodiment(file)


@pytest.mark.parametrize("text", ["a: [1", "? [1, 2]\n: 3\n", "", "- 1", "\x00"])
def test_text_that_is_no_description_is_refused(tmp_path, text):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"bad.yaml"):
        load_embodiment(file)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"expected one of .*vx300s"):
        load_embodiment("vx3000")
    with pytest.raises(ValueError, match=r"nowhere.yaml: cannot be read"):
        load_embodiment("/nowhere.yaml")


def test_a_joint_position_robot_needs_joint_limits_and_no_workspace():
    data = yaml.safe_load(JOINT_ROBOT.read_text())
    robot = parse_embodiment(data, Place("robot.yaml"))
    assert robot.action_names[0] == "joint.waist"
    assert robot.limits.groups["arm"].workspace is None
    assert robot.ee_pose is None
    del data["limits"]["arm"]["joint_speed_per_s"]
    with pytest.raises(ValueError, match=r"limits.arm.joint_speed_per_s: got nothing"):
        parse_embodiment(data, Place("robot.yaml"))


VIEW = {"position_m": [0.6, 0.0, 0.5], "target_m": [0.3, 0.0, 0.0], "fovy_deg": 42.0}


def with_view(view):
    data = content("vx300s")
    data["cameras"]["front"]["view"] = view
    return parse_embodiment(data, Place(Path("robot.yaml")))


def test_a_file_may_say_where_a_camera_stands():
    view = with_view(VIEW).cameras["front"].view
    assert view == View((0.6, 0.0, 0.5), (0.3, 0.0, 0.0), 42.0)
    assert with_view({**VIEW, "up": [-1, 0, 0]}).cameras["front"].view.up == (-1.0, 0.0, 0.0)
    assert parse_embodiment(content("vx300s"), Place(Path("x"))).cameras["front"].view is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fovy_deg": 0}, "fovy_deg"),
        ({"fovy_deg": float("nan")}, "fovy_deg"),
        ({"target_m": [0.6, 0.0, 0.5]}, "a target away from position"),
        ({"target_m": [0.6, 0.0, 0.0]}, "an up that is not on the way"),
        ({"position_m": [0.6, 0.0]}, "position_m"),
        ({"roll": 3.0}, "roll"),
    ],
)
def test_a_view_that_is_none_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        with_view({**VIEW, **change})
