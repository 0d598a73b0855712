"""Numbers that are read without ROS are those that the nodes read, of messages that ROS serialized."""

from __future__ import annotations

import json
import os
from array import array
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray, Header, String
from vla_policy.msg import ActionChunk, ControlCommand, ControlStatus

from vla_policy.data.bag.definitions import definition_of, type_store
from vla_policy.data.output_commands import output_decoders
from vla_policy.data.robot_streams import topics_of
from vla_policy.data.streams import Decoder, Message, pixels
from vla_policy.embodiment import embodiment_names, load_embodiment
from vla_policy.embodiment.layout import JOINTS, POSE, executed_groups, layout_of
from vla_policy.embodiment.spaces import GOALS
from vla_policy.ros.messages import convert
from vla_policy.ros.outputs.direct import encoder
from vla_policy.ros.outputs.trajectory import GripperTarget, JointTarget
from vla_policy.runtime.cdr import pixels_of_serialized
from vla_policy.runtime.images import encode_jpeg

NS = 1_763_000_000_123_456_789
RNG = np.random.default_rng(4)


def kind_of(msg) -> str:
    package, _, name = type(msg).__module__.split(".")[0], None, type(msg).__name__
    return f"{package}/msg/{name}"


def raw(msg, topic="/topic") -> Message:
    return Decoder().message(topic, kind_of(msg), serialize_message(msg), NS + 7)


def stamped(kind, frame="base_link", **fields):
    return kind(header=Header(stamp=convert.stamp_from_ns(NS), frame_id=frame), **fields)


def test_stamps():
    assert raw(stamped(JointState)).stamp_ns == NS
    assert raw(String(data="lift")).stamp_ns == NS + 7  # no header: when it came
    assert raw(JointState()).stamp_ns == NS + 7  # a stamp that was never set
    assert raw(stamped(ControlStatus)).stamp_ns == NS


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8", "rgba8", "rgb16", "yuv422"])
def test_pictures(encoding):
    channels = {"mono8": 1, "rgba8": 4, "rgb16": 6, "yuv422": 2}.get(encoding, 3)
    data = RNG.integers(0, 256, 6 * (8 * channels + 5), dtype=np.uint8)
    msg = stamped(Image, height=6, width=8, encoding=encoding, step=8 * channels + 5)
    msg.data = array("B", data.tobytes())
    expected = convert.image_from_msg(deserialize_message(serialize_message(msg), Image), "/topic")
    assert np.array_equal(pixels(raw(msg)), expected)


def test_compressed_pictures():
    image = RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    msg = stamped(CompressedImage, format="jpeg", data=array("B", encode_jpeg(image)))
    expected = convert.image_from_msg(msg, "/topic")
    assert np.array_equal(pixels(raw(msg)), expected)
    data = serialize_message(msg)
    assert np.array_equal(pixels(raw(msg)), pixels_of_serialized(data, "/topic", compressed=True))


def test_joints_poses_twists_numbers_and_words():
    values = RNG.normal(size=7)
    joints = stamped(JointState, name=[f"j{i}" for i in range(7)], position=values.tolist())
    names, positions = Decoder().joints(raw(joints))
    assert (names, positions.tolist()) == (list(joints.name), list(joints.position))
    pose = np.concatenate((values[:3], values[3:] / np.linalg.norm(values[3:]) * 1.004))
    msg = convert.pose_to_msg(pose, stamp_ns=NS, frame_id="base_link")
    expected = convert.pose_from_msg(msg, "base_link", "/topic")
    assert Decoder().pose(raw(msg), "base_link").tolist() == expected.tolist()
    with pytest.raises(ValueError, match="got frame 'base_link', expected 'world'"):
        Decoder().pose(raw(msg), "world")
    axes = ("ee.vx", "ee.vy", "ee.vz", "ee.wx", "ee.wy", "ee.wz")
    twist = convert.twist_to_msg(axes, values[:6], stamp_ns=NS, frame_id="base_link")
    assert isinstance(twist, TwistStamped)
    assert Decoder().twist(raw(twist)).tolist() == values[:6].tolist()
    assert Decoder().numbers(raw(Float64MultiArray(data=values.tolist()))).tolist() == values.tolist()  # fmt: skip
    assert Decoder().text(raw(String(data="Würfel 立方体"))) == "Würfel 立方体"
    assert Decoder().text(raw(String())) == ""


def test_reports_of_the_control_node():
    sent = RNG.normal(size=3)
    msg = stamped(
        ControlCommand, names=["a", "b", "c"], proposed=array("d", (sent + 1).tolist()),
        sent=array("d", [sent[0], np.nan, sent[2]]), level=1, reasons=["speed"],
        control_source="policy", chunk_sequence=9, instruction="lift",
    )  # fmt: skip
    got = Decoder().control_command(raw(msg))
    assert got.names == ("a", "b", "c")
    assert got.proposed.tolist() == (sent + 1).tolist()
    assert np.array_equal(got.sent, [sent[0], np.nan, sent[2]], equal_nan=True)
    assert (got.stamp_ns, got.level, got.control_source, got.instruction) == (NS, 1, "policy", "lift")  # fmt: skip
    nothing = Decoder().control_command(raw(stamped(ControlCommand, names=["a"])))
    assert nothing.sent is None
    assert nothing.proposed is None


def test_every_field_of_our_own_messages_is_read():
    chunk = ActionChunk(
        names=["a", "b"], rows=2, values=array("d", [1.0, 2.0, 3.0, 4.0]), plan="pick", sequence=4
    )
    known = type_store().get_msgdef("vla_policy/msg/ActionChunk")
    data = serialize_message(chunk)
    got, _ = known.deserialize_cdr_le(data[4:], 0, known.cls, type_store())
    for name in chunk.get_fields_and_field_types():
        if name not in ("header", "step", "inference_time"):
            assert np.array_equal(getattr(got, name), getattr(chunk, name)), name


@pytest.mark.parametrize("kind", [JointState, Image, PoseStamped, ControlCommand, ActionChunk])
def test_a_bags_hash_of_a_type_is_that_of_ros(kind):
    name = kind_of(kind())
    prefixes = [Path(p) for p in os.environ["AMENT_PREFIX_PATH"].split(os.pathsep)]
    told = next(p / "share" / f"{name}.json" for p in prefixes if (p / "share" / name.partition("/")[0]).is_dir())  # fmt: skip
    hashes = {
        h["type_name"]: h["hash_string"] for h in json.loads(told.read_text())["type_hashes"]
    }
    assert definition_of(name).hash == hashes[name]


def test_bytes_that_end_early_are_refused_in_one_sentence():
    joints = stamped(JointState, name=["a"], position=[1.0])
    data = serialize_message(joints)
    for length in range(4, len(data)):
        cut = Message("/topic", "sensor_msgs/msg/JointState", NS, NS, data[:length])
        try:
            Decoder().joints(cut)
        except ValueError as error:
            assert "/topic" in str(error)
            assert "\n" not in str(error)
    with pytest.raises(ValueError, match="got a sensor_msgs/msg/JointState, expected a std_msgs"):
        Decoder().text(raw(joints))


def messages_of(robot):
    """(part, values that were to be sent, the message of its output) of every group that has a topic."""
    for part, group in zip(layout_of(robot).parts, executed_groups(robot), strict=True):
        output = robot.outputs[part.group]
        if output.type in GOALS:
            continue
        if part.kind == POSE:
            turn = RNG.normal(size=4)
            values = np.concatenate((RNG.normal(size=3), turn / np.linalg.norm(turn)))
        elif part.lower is not None:
            values = RNG.uniform(part.lower, part.upper)
        else:
            values = RNG.normal(size=len(part.names))
        if output.type == "joint_trajectory":
            kind = JointTarget if part.kind == JOINTS else GripperTarget
            msg = kind(robot, part, output).message(values, 0.0 * values, NS)
        else:
            _, encode = encoder(robot, group, part, output)
            msg = encode(values, NS)
        yield part, values, msg


@pytest.mark.parametrize("name", embodiment_names())
def test_commands_are_read_back_from_what_the_outputs_sent(name):
    robot = load_embodiment(name)
    groups = {group: topic for topic, group in topics_of(robot).outputs.items()}
    found = 0
    for part, values, msg in messages_of(robot):
        topic = groups[part.group]
        read = output_decoders(robot, {topic: part.group}, Decoder())[topic]
        report = read(raw(msg, topic))
        assert report.names == part.names
        assert report.sent == pytest.approx(values, abs=1e-9), part.group
        found += 1
    assert found


@pytest.mark.parametrize("name", embodiment_names())
def test_a_gripper_of_goals_is_refused_and_no_other_output(name):
    robot = load_embodiment(name)
    goals = [group for group, output in robot.outputs.items() if output.type in GOALS]
    outputs = topics_of(robot).outputs
    if not goals:
        assert set(output_decoders(robot, outputs, Decoder())) == set(outputs)
        return
    with pytest.raises(ValueError, match=f"action group '{goals[0]}' is commanded by goals"):
        output_decoders(robot, outputs, Decoder())
