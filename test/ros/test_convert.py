"""Messages to values and back, and each message that is refused."""

from __future__ import annotations

import numpy as np
import pytest
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vla_policy.msg import ActionChunk as ActionChunkMsg

from vla_policy.ros.messages import convert
from vla_policy.types import ActionChunk

POSE = np.array([0.3, -0.1, 0.2, 0.0, 0.6, 0.0, 0.8])


def chunk(**changes) -> ActionChunk:
    rng = np.random.default_rng(1)
    values = {
        "actions": rng.normal(size=(5, 3)),
        "names": ("a", "b", "c"),
        "obs_ns": 1_763_000_000_123_456_789,
        "step_ns": 100_000_000,
        "sequence": 7,
        "instruction": "pick up the red cube",
        "plan": "pick",
        "terminate": True,
        "infer_ns": 43_000_001,
        "frozen_rows": 2,
        "model_actions": rng.normal(size=(5, 8)),
    }
    return ActionChunk(**{**values, **changes})


@pytest.mark.parametrize("time_ns", [0, 1, 999_999_999, 1_000_000_000, 1_763_000_000_123_456_789])
def test_stamps_and_durations_are_exact(time_ns):
    assert convert.ns_from_stamp(convert.stamp_from_ns(time_ns)) == time_ns
    assert convert.ns_from_stamp(convert.duration_from_ns(time_ns)) == time_ns
    assert isinstance(convert.stamp_from_ns(time_ns), Time)
    assert isinstance(convert.duration_from_ns(time_ns), Duration)


@pytest.mark.parametrize("time_ns", [-1, 2**31 * 1_000_000_000])
def test_a_stamp_that_does_not_fit_is_refused(time_ns):
    with pytest.raises(ValueError, match="expected 0 to"):
        convert.stamp_from_ns(time_ns)


def test_an_unset_stamp_is_refused_with_its_topic():
    with pytest.raises(ValueError, match="front/image_raw: got stamp 0 ns"):
        convert.header_ns(Header(), "front/image_raw")


def test_an_image_survives_the_wire():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    msg = convert.image_to_msg(image, stamp_ns=5, frame_id="front_optical_frame")
    assert (msg.height, msg.width, msg.step, msg.encoding) == (5, 7, 21, "rgb8")
    assert np.array_equal(convert.image_from_msg(msg, "front"), image)


def test_images_that_are_not_as_described_name_their_topic():
    with pytest.raises(ValueError, match="front: image of encoding 'rgb8': got 0 x 0"):
        convert.image_from_msg(Image(encoding="rgb8"), "front")
    with pytest.raises(ValueError, match="wrist: compressed image of format 'jpeg': got 0 bytes"):
        convert.image_from_msg(CompressedImage(format="jpeg"), "wrist")


def test_a_pose_survives_the_wire():
    msg = convert.pose_to_msg(POSE, stamp_ns=3_000_000_001, frame_id="base_link")
    assert convert.header_ns(msg.header, "ee_pose") == 3_000_000_001
    assert np.allclose(convert.pose_from_msg(msg, "base_link", "ee_pose"), POSE, atol=1e-15)


def test_a_pose_of_another_frame_is_refused():
    msg = convert.pose_to_msg(POSE, stamp_ns=1, frame_id="world")
    with pytest.raises(ValueError, match="ee_pose: got frame 'world', expected 'base_link'"):
        convert.pose_from_msg(msg, "base_link", "ee_pose")


@pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (0, 0, 0, 2), (0, 0, 0, 0.98)])
def test_a_quaternion_that_is_not_a_rotation_is_refused(quaternion):
    pose = np.array([0.0, 0.0, 0.0, *quaternion])
    msg = convert.pose_to_msg(pose, stamp_ns=1, frame_id="base_link")
    with pytest.raises(ValueError, match="quaternion of norm"):
        convert.pose_from_msg(msg, "base_link", "ee_pose")


def test_a_default_pose_message_is_the_identity_but_has_no_frame():
    with pytest.raises(ValueError, match="got frame ''"):
        convert.pose_from_msg(PoseStamped(), "base_link", "ee_pose")


@pytest.mark.parametrize("index", range(7))
def test_a_pose_that_is_not_finite_is_refused(index):
    pose = POSE.copy()
    pose[index] = np.inf
    msg = convert.pose_to_msg(pose, stamp_ns=1, frame_id="base_link")
    with pytest.raises(ValueError, match="not finite"):
        convert.pose_from_msg(msg, "base_link", "ee_pose")


@pytest.mark.parametrize("model_actions", [None, np.ones((5, 8))])
def test_a_chunk_survives_the_wire(model_actions):
    sent = chunk(model_actions=model_actions)
    got = convert.chunk_from_msg(convert.chunk_to_msg(sent, frame_id="base_link"), "action_chunk")
    for name in ActionChunk.__dataclass_fields__:
        left, right = getattr(sent, name), getattr(got, name)
        same = np.array_equal(left, right) if isinstance(left, np.ndarray) else left == right
        assert same, name


def test_values_that_are_not_finite_pass_to_the_guard():
    actions = np.full((5, 3), np.nan)
    msg = convert.chunk_to_msg(chunk(actions=actions), frame_id="base_link")
    assert np.isnan(convert.chunk_from_msg(msg, "action_chunk").actions).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": 4}, "15 values, expected 4 rows x 3 names"),
        ({"rows": 0}, "got 0 rows"),
        ({"rows": 2**32 - 1}, "got 4294967295 rows"),
        ({"names": []}, "of 0 names"),
        ({"names": ["a", "b", "a"]}, "twice"),
        ({"values": [0.0] * 16}, "16 values"),
        ({"values": []}, "0 values"),
        ({"step": Duration()}, "step 0 ns"),
        ({"step": Duration(sec=-1)}, "step -1000000000 ns"),
        ({"header": Header()}, "stamp 0 ns"),
        ({"frozen_rows": 6}, "6 frozen rows of 5"),
        ({"model_columns": 9}, "40 model values, expected 5 x 9"),
        ({"model_columns": 2**32 - 1}, "40 model values"),
        ({"model_columns": 0}, "40 model values, expected 5 x 0"),
    ],
)
def test_a_chunk_whose_sizes_disagree_is_refused(change, words):
    msg = convert.chunk_to_msg(chunk(), frame_id="base_link")
    assert isinstance(msg, ActionChunkMsg)
    for name, value in change.items():
        setattr(msg, name, value)
    with pytest.raises(ValueError, match=f"action_chunk: .*{words}"):
        convert.chunk_from_msg(msg, "action_chunk")
