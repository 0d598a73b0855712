"""Frames of a take against a slow reference that looks at all messages at once, and takes that go wrong."""

from __future__ import annotations

import bag_messages as make
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_policy.data.alignment import (
    SILENCE_NS,
    WAIT_NS,
    StampedValue,
    Track,
    clock_offset_ns,
    frame_ns,
)
from vla_policy.data.episode_builder import EpisodeBuilder
from vla_policy.data.streams import pixels

S, MS, START = make.S, make.MS, make.START
FPS = 30


def built(robot, messages, **options):
    """(frames, the builder) of messages in their order."""
    builder = EpisodeBuilder(robot, FPS, **options)
    frames = []
    for message in messages:
        frames += builder.add(message)
    return frames + builder.end(), builder


def reference(robot, messages, count):
    """The rule, written out: of each frame the stamps, the state, the action and whether it is valid.

    Looks at all messages of a take that has no late ones.
    """

    def of(topic):
        return [m for m in messages if m.topic == topic]

    decoder = make.decoder()
    cameras = {n: of(f"/{c.topic}") for n, c in robot.cameras.items()}
    joints = of(f"/{robot.joints.topic}")
    commands = [decoder.control_command(m) for m in of("/control_command")]
    start = max(stream[0].stamp_ns for stream in (*cameras.values(), joints))
    found = []
    for k in range(count):
        t, after = frame_ns(start, FPS, k), frame_ns(start, FPS, k + 1)
        newest = {n: [m for m in ms if m.stamp_ns <= t][-1] for n, ms in cameras.items()}
        newest["joints"] = [m for m in joints if m.stamp_ns <= t][-1]
        ages = {n: t - m.stamp_ns for n, m in newest.items()}
        allowed = {n: round(c.max_age_s * S) for n, c in robot.cameras.items()}
        allowed["joints"] = round(robot.joints.max_age_s * S)
        state = decoder.joints(newest["joints"])[1].astype(np.float32)
        sent = [c for c in commands if c.stamp_ns <= after and c.sent is not None]
        action = sent[-1].sent.astype(np.float32) if sent else state
        valid = bool(sent) and all(ages[n] <= allowed[n] for n in ages)
        images = {n: pixels(newest[n]) for n in cameras}
        found.append((t, images, state, action, valid))
    return found


def same(frames, expected):
    assert len(frames) == len(expected)
    for frame, (t, images, state, action, valid) in zip(frames, expected, strict=True):
        assert frame.stamp_ns == t
        assert {n: i.tobytes() for n, i in frame.images.items()} == {
            n: i.tobytes() for n, i in images.items()
        }
        assert frame.state.tolist() == state.tolist()
        assert frame.action.tolist() == action.tolist()
        assert frame.valid == valid


def test_a_take_gives_the_frames_of_the_rule():
    robot = make.robot()
    messages = make.take(robot, 2.0)
    frames, builder = built(robot, messages)
    # The last command is of 119 / 60 s; frame 59 would need one of 2 s.
    assert len(frames) == 59
    same(frames, reference(robot, messages, 59))
    assert builder.problem is None
    assert not builder.refused
    middle = frames[30]
    assert middle.task == "lift the cube"
    assert (middle.control_source, middle.guard_level, middle.intervention) == ("policy", 0, False)
    assert np.allclose(middle.proposed, middle.action + 0.01)
    assert middle.ages_s == {"static": 0.0, "wrist": 0.0, "joints": 0.0}


@settings(max_examples=15, deadline=None)
@given(data=st.data())
@pytest.mark.slow
def test_streams_of_any_rate_and_latency_give_the_frames_of_the_rule(data):
    robot = make.robot()
    messages = []
    for camera in robot.cameras.values():
        hz, phase = data.draw(st.integers(8, 45)), data.draw(st.integers(0, 200)) * MS
        latency = data.draw(st.integers(0, 200)) * MS
        for i in range(hz):
            stamp = START + phase + i * S // hz
            if data.draw(st.integers(0, 9)) == 0:
                continue  # lost
            messages.append(make.image(f"/{camera.topic}", stamp, make.picture(i, 4, 6), stamp + latency))  # fmt: skip
    for i in range(100):
        stamp = START + 30 * MS + i * 10 * MS
        positions = np.full(6, 0.001 * i)
        messages.append(make.joints(f"/{robot.joints.topic}", stamp, robot.joint_names, positions, stamp + MS))  # fmt: skip
    first = data.draw(st.integers(0, 60))
    for i in range(first, 60):
        stamp = START + i * S // 60
        sent = None if data.draw(st.integers(0, 5)) == 0 else np.full(6, 0.01 * i)
        messages.append(make.command(stamp, [f"joint.{n}" for n in robot.joint_names], sent=sent))
    messages.sort(key=lambda m: m.received_ns)
    frames, builder = built(robot, messages)
    assert builder.problem is None
    if frames:
        same(frames, reference(robot, messages, len(frames)))


def test_the_order_of_messages_that_come_together_changes_nothing():
    robot = make.robot()
    messages = make.take(robot, 1.0)
    frames, _ = built(robot, messages)
    rng = np.random.default_rng(5)
    # Neighbours within 30 ms may swap if they are of different topics, as streams race each other.
    for _ in range(400):
        i = int(rng.integers(0, len(messages) - 1))
        if messages[i].topic != messages[i + 1].topic:
            messages[i], messages[i + 1] = messages[i + 1], messages[i]
    again, _ = built(robot, messages)
    assert [f.stamp_ns for f in again] == [f.stamp_ns for f in frames]
    assert all(a.state.tolist() == b.state.tolist() for a, b in zip(again, frames, strict=True))
    assert all(a.action.tolist() == b.action.tolist() for a, b in zip(again, frames, strict=True))


def test_frames_come_while_the_take_goes_on_and_hold_little_memory():
    robot = make.robot()
    builder = EpisodeBuilder(robot, FPS)
    done = 0
    for message in make.take(robot, 3.0):
        done += len(builder.add(message))
        behind = message.received_ns - frame_ns(START, FPS, done)
        assert behind < 150 * MS
        assert all(len(track._samples) < 20 for track in builder._inputs.values())


def test_a_camera_that_dies_makes_frames_invalid_and_repeats_its_last_picture():
    robot = make.robot()
    died = START + S
    messages = [
        m
        for m in make.take(robot, 3.0)
        if not (m.topic == "/follower/image_raw" and m.stamp_ns > died)
    ]
    frames, builder = built(robot, messages)
    assert builder.problem is None
    assert len(frames) == 89
    last = [f for f in frames if f.stamp_ns <= died][-1]
    for frame in frames:
        age_s = (frame.stamp_ns - died) / S
        assert frame.valid == (age_s <= robot.cameras["wrist"].max_age_s), age_s
        if age_s > 0:
            assert frame.images["wrist"].tobytes() == last.images["wrist"].tobytes()
            assert frame.ages_s["wrist"] == pytest.approx(age_s, abs=0.04)
    assert frames[-1].images["static"].tobytes() != last.images["static"].tobytes()


def test_before_anything_is_sent_the_action_is_where_the_robot_is_and_the_frame_invalid():
    robot = make.robot()
    messages = [
        m
        for m in make.take(robot, 1.0)
        if not (m.topic == "/control_command" and m.stamp_ns < START + S // 2)
    ]
    frames, _ = built(robot, messages)
    for frame in frames:
        early = frame.stamp_ns + S // FPS < START + S // 2
        assert frame.valid == (not early)
        if early:
            assert frame.action.tolist() == frame.state.tolist()
            assert np.isnan(frame.proposed).all()
            assert frame.control_source == ""


def test_columns_that_were_sent_nothing_keep_what_was_sent_before():
    robot = make.robot()
    names = [f"joint.{n}" for n in robot.joint_names]
    messages = [m for m in make.take(robot, 1.0) if m.topic != "/control_command"]
    for i in range(60):
        sent = np.full(6, 0.1 * (i // 6))
        if i > 30:
            sent[:3] = np.nan
        messages.append(make.command(START + i * S // 60, names, sent=sent))
    frames, _ = built(robot, sorted(messages, key=lambda m: m.received_ns))
    last = frames[-1].action
    assert np.allclose(last[:3], 0.5)
    assert np.allclose(last[3:], 0.9)


def test_a_person_who_takes_over_from_the_policy_intervenes_and_one_who_began_does_not():
    robot = make.robot()
    names = [f"joint.{n}" for n in robot.joint_names]
    rest = [m for m in make.take(robot, 1.0) if m.topic != "/control_command"]

    def flags(sources):
        told = [
            make.command(START + i * S // 60, names, sent=np.zeros(6), source=sources(i))
            for i in range(60)
        ]
        frames, _ = built(robot, sorted(rest + told, key=lambda m: m.received_ns))
        return [(f.control_source, f.intervention) for f in frames]

    over = flags(lambda i: "policy" if i < 30 else "teleop")
    assert over[0] == ("policy", False)
    assert over[-1] == ("teleop", True)
    assert set(flags(lambda i: "teleop")) == {("teleop", False)}


def test_repeated_late_and_backward_stamps_are_counted_and_shown_to_nobody():
    robot = make.robot()
    messages = make.take(robot, 2.0)
    frames, _ = built(robot, messages)
    topic = "/follower/joint_states"
    at = next(i for i, m in enumerate(messages) if m.topic == topic and m.stamp_ns > START + S)
    one = messages[at]
    wrong = np.full(6, 9.0)
    more = [
        make.joints(topic, one.stamp_ns, robot.joint_names, wrong, one.received_ns),
        make.joints(topic, one.stamp_ns - 15 * MS, robot.joint_names, wrong, one.received_ns),
    ]
    again, builder = built(robot, [*messages[: at + 1], *more, *messages[at + 1 :]])
    assert builder.counts == {"repeated": 1, "backward": 1}
    assert [f.state.tolist() for f in again] == [f.state.tolist() for f in frames]


def test_a_sample_that_comes_after_its_frame_is_counted_late():
    robot = make.robot()
    camera = "/follower/image_raw"
    messages, held = [], []
    for m in make.take(robot, 3.0):
        stalled = m.topic == camera and START + S <= m.stamp_ns < START + 3 * S // 2
        (held if stalled else messages).append(m)
    # A link that stalls: what was taken in half a second comes 1.2 s late, all at once.
    later = START + 2 * S + 200 * MS
    held = [make.image(camera, m.stamp_ns, pixels(m), later) for m in held]
    messages = [m for m in messages if not (m.topic == camera and START + S <= m.stamp_ns < later)]
    frames, builder = built(robot, sorted([*messages, *held], key=lambda m: m.received_ns))
    assert builder.counts["late"] == len(held)
    stamps = [f.stamp_ns for f in frames]
    assert stamps == sorted(stamps)
    invalid = [f for f in frames if not f.valid]
    assert len(invalid) > 20
    assert frames[-1].valid


def test_one_stream_whose_clock_goes_back_makes_frames_invalid_and_is_told():
    robot = make.robot()
    camera = "/follower/image_raw"
    messages = [
        make.image(camera, m.stamp_ns - 100 * S, pixels(m), m.received_ns)
        if m.topic == camera and m.stamp_ns > START + S
        else m
        for m in make.take(robot, 2.0)
    ]
    frames, builder = built(robot, messages)
    assert builder.refused[camera] == 29
    assert "older than the one before it" in builder.sentences[camera]
    assert frames[-1].valid is False
    assert frames[20].valid is True


def test_one_stamp_from_the_future_does_not_silence_its_stream():
    robot = make.robot()
    camera = "/follower/image_raw"
    messages = make.take(robot, 2.0)
    at = next(i for i, m in enumerate(messages) if m.topic == camera and m.stamp_ns > START + S)
    one = messages[at]
    messages[at] = make.image(camera, one.stamp_ns + 50 * S, pixels(one), one.received_ns)
    frames, builder = built(robot, messages)
    assert "ahead of when it came" in builder.sentences[camera]
    assert all(frame.valid for frame in frames)


@pytest.mark.parametrize(
    ("jump_ns", "said"), [(-5 * S, "went back by"), (3600 * S, "without a message")]
)
def test_the_episode_ends_where_the_clock_jumps(jump_ns, said):
    robot = make.robot()
    messages = make.take(robot, 2.0)
    half = len(messages) // 2
    jumped = []
    for m in messages[half:]:
        stamp, received = m.stamp_ns + jump_ns, m.received_ns + jump_ns
        if m.topic == "/follower/joint_states":
            jumped.append(make.joints(m.topic, stamp, robot.joint_names, np.zeros(6), received))
    frames, builder = built(robot, messages[:half] + jumped)
    assert said in builder.problem
    assert "the episode ends there" in builder.problem
    whole, _ = built(robot, messages)
    assert 20 < len(frames) < 35
    assert [f.stamp_ns for f in frames] == [f.stamp_ns for f in whole[: len(frames)]]


def test_a_bag_of_another_clock_than_its_stamps_gives_the_same_frames():
    robot = make.robot()
    messages = make.take(robot, 1.0)
    frames, _ = built(robot, messages)
    ahead = 10_000_000 * S
    other = [type(m)(m.topic, m.type, m.stamp_ns, m.received_ns + ahead, m.data) for m in messages]
    again, builder = built(robot, other)
    assert not builder.refused
    assert [f.stamp_ns for f in again] == [f.stamp_ns for f in frames]


def test_broken_pictures_count_as_not_received():
    robot = make.robot()
    camera = "/follower/image_raw"
    messages = make.take(robot, 2.0)
    broken = []
    for m in messages:
        cut = m.topic == camera and START + S < m.stamp_ns < START + S + 100 * MS
        broken.append(type(m)(m.topic, m.type, m.stamp_ns, m.received_ns, m.data[:200]) if cut else m)  # fmt: skip
    frames, builder = built(robot, broken)
    assert builder.refused[camera] == 2
    assert "expected a picture" in builder.sentences[camera]
    assert all(frame.valid for frame in frames)  # the one before it is young enough
    shown = {f.stamp_ns: f.images["wrist"].tobytes() for f in frames}
    assert shown[frame_ns(START, FPS, 31)] == shown[frame_ns(START, FPS, 30)]


def test_commands_of_another_robot_are_refused_in_one_sentence():
    robot = make.robot()
    messages = make.take(robot, 0.5)
    messages.append(make.command(START + S // 2, ["joint.waist"], sent=[0.0]))
    _, builder = built(robot, messages)
    assert "joint.waist" in builder.sentences["/control_command"]
    assert "expected those of this robot" in builder.sentences["/control_command"]


def test_streams_that_never_came_are_named():
    robot = make.robot()
    messages = [m for m in make.take(robot, 0.5) if m.topic != "/follower/image_raw"]
    frames, builder = built(robot, messages)
    assert frames == []
    assert builder.missing == ("wrist",)


def test_relative_topics_stand_below_the_namespace():
    robot = make.robot()
    messages = [
        type(m)(f"/left{m.topic}", m.type, m.stamp_ns, m.received_ns, m.data)
        for m in make.take(robot, 0.5)
    ]
    assert built(robot, messages)[0] == []
    frames, _ = built(robot, messages, namespace="/left")
    assert len(frames) == 14


def test_the_arithmetic_of_times():
    assert frame_ns(START, 30, 30) == START + S
    assert frame_ns(START, 3, 1) == START + 333_333_333
    with pytest.raises(ValueError, match="expected at least 1"):
        frame_ns(START, 0, 1)
    assert clock_offset_ns([5 * MS, 7 * MS, 900 * MS]) == 0
    assert clock_offset_ns([50 * S, 51 * S, 5 * MS]) == 50 * S
    assert clock_offset_ns([]) == 0
    assert WAIT_NS < SILENCE_NS


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(-1, 51))
def test_a_track_gives_the_newest_sample_up_to_a_time(stamps, time_ns):
    track: Track[int] = Track(10)
    kept = []
    for stamp in stamps:
        advances = not kept or stamp > kept[-1]
        if advances:
            kept.append(stamp)
        assert track.add(StampedValue(stamp, stamp)) == advances
        assert track.newest_ns == kept[-1]
    earlier = [s for s in kept if s <= time_ns]
    found = track.at(time_ns)
    assert (None if found is None else found.value) == (earlier[-1] if earlier else None)
    assert [s.value for s in track.up_to(time_ns)] == earlier
    track.drop_before(time_ns)
    found = track.at(time_ns)
    assert (None if found is None else found.value) == (earlier[-1] if earlier else None)
