"""Every message that comes in from outside, filled with anything: a value that holds, or ValueError."""

import struct

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Header
from vla_policy.msg import ActionChunk

from vla_policy.embodiment import load_embodiment
from vla_policy.ros.inputs.camera_liveness import require_past
from vla_policy.ros.messages import convert
from vla_policy.runtime.cdr import pixels_of_serialized, stamp_of_serialized
from vla_policy.runtime.joint_states import JointStateMerger

ROBOT = load_embodiment("vx300s")
TOPIC = ROBOT.joints.topic
MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

floats = st.floats(width=64)
words = st.text(max_size=12)
stamps = st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1))
joint_names = st.sampled_from([*ROBOT.joint_names, "left_finger", "", "other"])


def header(stamp, frame="base_link"):
    found = Header(frame_id=frame)
    found.stamp.sec, found.stamp.nanosec = stamp
    return found


@MANY
@given(
    stamps,
    st.lists(joint_names, max_size=10),
    st.lists(floats, max_size=10),
    st.lists(floats, max_size=10),
)
def test_joint_states(stamp, names, positions, velocities):
    msg = JointState(header=header(stamp), name=names, position=positions, velocity=velocities)
    parts = JointStateMerger(ROBOT)
    try:
        stamp_ns = convert.header_ns(msg.header, TOPIC)
        found = parts.add(TOPIC, msg.name, msg.position, stamp_ns)
    except ValueError as error:
        assert TOPIC in str(error)
        return
    if found is not None:
        stamp_ns, values = found
        assert stamp_ns > 0
        assert values.shape == (7,)
        assert np.isfinite(values).all()
        assert set(ROBOT.joint_names) <= set(names)


@MANY
@given(
    stamps, st.sampled_from(["base_link", "", "world"]), st.lists(floats, min_size=7, max_size=7)
)
def test_poses(stamp, frame, values):
    pose = Pose(position=Point(x=values[0], y=values[1], z=values[2]))
    pose.orientation = Quaternion(**dict(zip("xyzw", values[3:], strict=True)))
    try:
        found = convert.pose_from_msg(
            PoseStamped(header=header(stamp, frame), pose=pose), "base_link", "ee_pose"
        )
    except ValueError as error:
        assert "ee_pose" in str(error)
        return
    assert frame == "base_link"
    assert np.isfinite(found).all()
    assert abs(np.linalg.norm(found[3:]) - 1.0) < 1e-9


@MANY
@given(
    stamps,
    stamps,
    st.integers(0, 2**32 - 1) | st.integers(0, 5),
    st.lists(st.sampled_from(ROBOT.action_names), max_size=8),
    st.lists(floats, max_size=40),
    st.integers(0, 2**32 - 1) | st.integers(0, 4),
    st.tuples(words, words, st.booleans(), st.booleans(), st.integers(0, 2**32 - 1)),
)
def test_chunks(stamp, step, rows, names, values, model_columns, rest):
    msg = ActionChunk(header=header(stamp), rows=rows, names=names, values=values)
    msg.step.sec, msg.step.nanosec = step
    msg.model_columns, msg.model_values = model_columns, values
    msg.instruction, msg.plan, msg.terminate, msg.continues, msg.frozen_rows = rest
    try:
        chunk = convert.chunk_from_msg(msg, "action_chunk")
    except ValueError as error:
        assert "action_chunk" in str(error) or "ActionChunk" in str(error)
        return
    assert chunk.actions.shape == (rows, len(names))
    assert chunk.obs_ns > 0 and chunk.step_ns > 0


def test_chunks_that_fit_do_come_through():
    msg = ActionChunk(header=header((5, 0)), rows=2, names=["a", "b"], values=[1.0, 2, 3, 4])
    msg.step.nanosec = 1
    assert convert.chunk_from_msg(msg, "action_chunk").actions.tolist() == [[1, 2], [3, 4]]


@MANY
@given(
    st.sampled_from(
        ["rgb8", "bgr8", "mono8", "mono16", "yuyv", "rgba8", "bayer_rggb8", "", "RGB8"]
    )
    | words,
    st.integers(0, 9) | st.integers(0, 2**32 - 1),
    st.integers(0, 9) | st.integers(0, 2**32 - 1),
    st.integers(0, 60) | st.integers(0, 2**32 - 1),
    st.binary(max_size=400),
    st.integers(0, 255),
)
def test_images(encoding, height, width, step, data, bigendian):
    msg = Image(encoding=encoding, height=height, width=width, step=step)
    msg.data, msg.is_bigendian = data, bigendian
    wire = serialize_message(msg)
    try:
        image = convert.image_from_msg(msg, "front/image_raw")
    except ValueError as error:
        assert str(error).startswith("front/image_raw")
        with pytest.raises(ValueError, match=r"^front/image_raw"):
            pixels_of_serialized(wire, "front/image_raw", compressed=False)
        return
    same = pixels_of_serialized(wire, "front/image_raw", compressed=False)
    np.testing.assert_array_equal(same, image)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8


@pytest.fixture(scope="module")
def files():
    image = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    return [cv2.imencode(kind, image)[1].tobytes() for kind in (".jpg", ".png")]


@MANY
@given(st.integers(0, 1), st.floats(0, 1), st.binary(max_size=30), st.floats(0, 1), words)
def test_compressed_images(files, kind, cut, noise, at, name):
    whole = files[kind]
    place = int(at * len(whole))
    data = whole[:place] + noise + whole[place + len(noise) :]
    msg = CompressedImage(format=name, data=data[: int(cut * len(data))])
    wire = serialize_message(msg)
    try:
        image = convert.image_from_msg(msg, "front/image_raw")
    except ValueError as error:
        assert str(error).startswith("front/image_raw")
        with pytest.raises(ValueError, match=r"^front/image_raw"):
            pixels_of_serialized(wire, "front/image_raw", compressed=True)
        return
    same = pixels_of_serialized(wire, "front/image_raw", compressed=True)
    np.testing.assert_array_equal(same, image)
    assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8


@MANY
@given(st.integers(1, 7), st.integers(1, 5), words, st.floats(0, 1), st.binary(max_size=12))
def test_pictures_that_end_early_or_are_garbled(width, height, frame, at, noise):
    msg = Image(encoding="rgb8", height=height, width=width, step=3 * width)
    msg.header.frame_id, msg.data = frame, bytes(range(3 * width)) * height
    wire = serialize_message(msg)
    whole = pixels_of_serialized(wire, "t", compressed=False)
    assert whole.tobytes() == bytes(msg.data)
    place = int(at * (len(wire) - 1))
    with pytest.raises(ValueError, match="t: "):
        pixels_of_serialized(wire[: min(place, len(wire) - 4)], "t", compressed=False)
    garbled = wire[:place] + noise + wire[place + len(noise) :]
    try:
        image = pixels_of_serialized(garbled, "t", compressed=False)
    except ValueError as error:
        assert str(error).startswith("t: ")
        return
    assert image.ndim == 3 and image.dtype == np.uint8


@MANY
@given(st.binary(max_size=40))
def test_stamps_of_serialized_messages(data):
    try:
        stamp_ns = stamp_of_serialized(data, "front/image_raw")
    except ValueError as error:
        assert "front/image_raw" in str(error)
        return
    assert stamp_ns > 0


def test_a_stamp_is_read_in_both_byte_orders_and_not_believed_ahead_of_the_clock():
    for order, flag in (("<", 1), (">", 0)):
        data = bytes([0, flag, 0, 0]) + struct.pack(f"{order}iI", 7, 5) + bytes(20)
        assert stamp_of_serialized(data, "t") == 7_000_000_005
    require_past(1_100_000_000, 1_000_000_000, "t")
    with pytest.raises(ValueError, match=r"t: got a stamp 0\.100 s ahead"):
        require_past(1_100_000_001, 1_000_000_000, "t")
