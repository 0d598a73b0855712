"""Poses out of /tf: by hand, against what tf2 gives where it is installed, and in the frames of a take."""

from dataclasses import replace
from types import MappingProxyType

import bag_messages as make
import numpy as np
import pytest

from vla_policy.data.episode_builder import EpisodeBuilder
from vla_policy.data.transforms import KEPT_NS, TF, TF_STATIC, Link, Transforms
from vla_policy.embodiment import PoseSource
from vla_policy.ros.bringup.endpoints import recorded_streams

S, MS, START = make.S, make.MS, make.START
HALF = float(np.sqrt(0.5))
NONE, QUARTER = (0.0, 0.0, 0.0, 1.0), (0.0, 0.0, HALF, HALF)  # turns about z


def link(parent, child, stamp_ns, xyz=(0.0, 0.0, 0.0), turn=NONE):
    return Link(parent, child, stamp_ns, np.array([*xyz, *turn]))


def heard(moving, static=()):
    found = Transforms()
    assert found.add(static, is_static=True) == ""
    for one in moving:
        assert found.add([one], is_static=False) == ""
    return found


def test_a_chain_is_looked_up_at_the_newest_time_that_all_its_links_have():
    found = heard(
        [
            link("base", "arm", 1 * S, (1.0, 0.0, 0.0)),
            link("base", "arm", 2 * S, (2.0, 0.0, 0.0), QUARTER),
            link("arm", "hand", 1 * S, (0.0, 1.0, 0.0)),
            link("arm", "hand", 3 * S // 2, (0.0, 2.0, 0.0)),
        ],
        [link("hand", "tool", 0, (0.0, 0.0, 0.5), QUARTER)],
    )
    stamp_ns, pose = found.newest("base", "tool")
    assert stamp_ns == 3 * S // 2
    # The arm is half way: at x = 1.5, turned by an eighth; the hand is 2 along its y.
    assert pose[:3] == pytest.approx([1.5 - 2 * HALF, 2 * HALF, 0.5])
    assert pose[3:] == pytest.approx([0.0, 0.0, np.sin(0.375 * np.pi), np.cos(0.375 * np.pi)])


def test_a_base_that_hangs_below_another_root_is_where_the_way_back_leads():
    found = heard(
        [link("world", "tool", S, (1.0, 2.0, 0.0))],
        [link("world", "base", 0, (1.0, 0.0, 0.0), QUARTER)],
    )
    stamp_ns, pose = found.newest("base", "tool")
    assert stamp_ns == S
    assert pose == pytest.approx([2.0, 0.0, 0.0, 0.0, 0.0, -HALF, HALF])


def test_nothing_is_extrapolated_and_what_is_not_known_gives_nothing():
    apart = heard([link("base", "arm", S), link("arm", "tool", 3 * S), link("arm", "tool", 4 * S)])
    assert apart.newest("base", "tool") is None  # the arm has said nothing of 3 s
    assert apart.newest("base", "elsewhere") is None
    assert heard([link("base", "arm", S), link("other", "tool", S)]).newest("base", "tool") is None
    still = heard([], [link("base", "tool", 0)])
    with pytest.raises(ValueError, match="'tool' never moves in 'base'"):
        still.newest("base", "tool")
    circle = heard([link("a", "b", S), link("b", "a", S)])
    with pytest.raises(ValueError, match="the frames above 'a' are a circle"):
        circle.newest("base", "a")


def test_what_is_no_transform_is_told_and_the_others_of_its_message_count():
    found = Transforms()
    bad = [link("base", "arm", S, turn=(0.0, 0.0, 0.0, 0.0)), link("tool", "tool", S)]
    bad += [link("base", "arm", S, (np.nan, 0.0, 0.0))]
    for one in bad:
        assert found.add([one, link("base", "tool", S)], is_static=False).startswith("tf: ")
    assert found.newest("base", "arm") is None
    assert found.newest("base", "tool")[0] == S


def test_only_some_seconds_are_kept_and_a_clock_that_jumped_leaves_what_stands_still():
    found = heard(
        [link("base", "arm", k * S // 10, (k, 0.0, 0.0)) for k in range(300)],
        [link("arm", "tool", 0)],
    )
    assert found.newest("base", "tool")[0] == 299 * S // 10
    assert len(found._tracks["arm"].stamps) <= KEPT_NS // (S // 10)
    found.forget()
    assert found.newest("base", "tool") is None
    assert found.add([link("base", "arm", S)], is_static=False) == ""
    assert found.newest("base", "tool")[0] == S


def robot_by(kind):
    """so101 with a tool whose place is in its state, by topic or by tf."""
    plain = make.robot()
    source = PoseSource("tool_pose" if kind == "topic" else "tf of tool", 0.3, kind, "tool")
    state = (*plain.state, "ee.x", "ee.y", "ee.z")
    return replace(plain, poses=MappingProxyType({"ee": source}), state=state)


def frames_of(robot, messages):
    builder = EpisodeBuilder(robot, 30)
    frames = [f for m in messages for f in builder.add(m)] + builder.end()
    assert not builder.refused, builder.sentences
    return frames


def test_a_robot_whose_tool_is_known_by_tf_gives_the_frames_of_one_with_a_topic():
    plain, base = make.take(make.robot(), 1.0), make.robot().base_frame
    stamps = [START + k * 10 * MS for k in range(100)]
    places = np.cumsum(np.random.default_rng(1).normal(size=(100, 3)), axis=0)
    poses = [
        make.pose("/tool_pose", t, [*xyz, *NONE], base, t + 5 * MS)
        for t, xyz in zip(stamps, places, strict=True)
    ]
    links = [
        make.transforms(TF, [link(base, "arm", t, xyz - 1.0)], t + 5 * MS)
        for t, xyz in zip(stamps, places, strict=True)
    ]
    said = make.transforms(TF_STATIC, [link("arm", "tool", 0, (1.0, 1.0, 1.0))], START - MS)

    def in_order(messages):
        return sorted([*plain, *messages], key=lambda m: m.received_ns)

    by_topic = frames_of(robot_by("topic"), in_order(poses))
    by_tf = frames_of(robot_by("tf"), in_order([said, *links]))
    assert len(by_tf) == len(by_topic) > 20
    for got, expected in zip(by_tf, by_topic, strict=True):
        assert got.state == pytest.approx(expected.state, abs=1e-6)
        assert (got.stamp_ns, got.ages_s, got.valid) == (
            expected.stamp_ns,
            expected.ages_s,
            expected.valid,
        )
    silent = frames_of(robot_by("tf"), in_order([said, *links[:40]]))
    assert silent[0].valid and not silent[-1].valid  # its pose has grown old


def test_a_recorder_takes_tf_and_begins_no_take_without_it():
    needs = {need.topic: need for need in recorded_streams(robot_by("tf"))}
    assert (needs[TF].required, needs[TF].max_age_s) == (True, 0.3)
    assert not needs[TF_STATIC].required
    assert TF not in {need.topic for need in recorded_streams(robot_by("topic"))}


def test_it_gives_what_tf2_gives():
    tf2_ros = pytest.importorskip("tf2_ros", reason="needs an installed ROS: its wheels have none")
    from geometry_msgs.msg import TransformStamped
    from rclpy.time import Time

    rng, ours, theirs = np.random.default_rng(2), Transforms(), tf2_ros.Buffer()
    chain = [("base", "a"), ("a", "b"), ("b", "tool"), ("base", "fixed"), ("fixed", "other")]
    for parent, child in chain:
        for k in range(20):
            is_static = child == "fixed"
            turn = rng.normal(size=4)
            stamp_ns = START + k * 100 * MS + int(rng.integers(0, 50)) * MS
            one = link(parent, child, stamp_ns, rng.normal(size=3), turn / np.linalg.norm(turn))
            ours.add([one], is_static=is_static)
            msg = TransformStamped()
            msg.header.frame_id, msg.child_frame_id = parent, child
            msg.header.stamp = Time(nanoseconds=stamp_ns).to_msg()
            place, rotation = msg.transform.translation, msg.transform.rotation
            place.x, place.y, place.z, rotation.x, rotation.y, rotation.z, rotation.w = (
                one.pose.tolist()
            )
            put = theirs.set_transform_static if is_static else theirs.set_transform
            put(msg, "test")
    for base, frame in (("base", "tool"), ("tool", "base"), ("other", "tool")):
        stamp_ns, pose = ours.newest(base, frame)
        found = theirs.lookup_transform(base, frame, Time())
        p, q = found.transform.translation, found.transform.rotation
        assert Time.from_msg(found.header.stamp).nanoseconds == stamp_ns
        assert pose[:3] == pytest.approx([p.x, p.y, p.z])
        assert abs(pose[3:] @ [q.x, q.y, q.z, q.w]) == pytest.approx(1.0)
