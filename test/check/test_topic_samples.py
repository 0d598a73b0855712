"""What was heard of a graph, as data, to findings: nothing for a robot as it should be, one mistake at a time."""

from dataclasses import replace

import pytest
from rich.console import Console

from vla_policy.check.report import format_findings, print_topics
from vla_policy.check.topic_samples import (
    CommandSink,
    DiscoveredEndpoint,
    GraphSnapshot,
    TopicSample,
    TopicStats,
)
from vla_policy.check.topics import check_topics
from vla_policy.embodiment.embodiment_file import read_embodiment_file
from vla_policy.embodiment.findings import ERROR, WARNING

SHEET = read_embodiment_file("vx300s")
NOW_NS, STEP_NS = 1_000_000_000_000, 20_000_000
POSITIONS = dict.fromkeys(SHEET.robot.joint_names, 0.3) | {"left_finger": 0.03}
JOINTS, POSE, IMAGE = (f"{t}" for t in ("sensor_msgs/msg/JointState", "geometry_msgs/msg/PoseStamped", "sensor_msgs/msg/Image"))  # fmt: skip
DRIVER = DiscoveredEndpoint("/driver", "")


def stream(topic: str, kind: str, **sample: object) -> TopicStats:
    """50 messages of one second, 10 ms old."""
    stamps = [NOW_NS + k * STEP_NS for k in range(50)]
    samples = tuple(TopicSample(ns + 10_000_000, ns, **sample) for ns in stamps)
    return TopicStats(topic, kind, (replace(DRIVER, type=kind),), samples)


def drain(group: str, topic: str, kind: str) -> CommandSink:
    return CommandSink(group, topic, kind, (), (replace(DRIVER, type=kind),))


def good() -> GraphSnapshot:
    return GraphSnapshot(
        seconds=1.0,
        published={"/joint_states": (JOINTS,), "/camera/color": (IMAGE,)},
        read={"/target_pose": (POSE,)},
        joints={"joint_states": stream("/joint_states", JOINTS, values=POSITIONS)},
        poses={"ee": stream("/ee_pose", POSE, frame="base_link", values={"x": 0.3, "y": 0.0, "z": 0.2})},
        tf={},
        cameras={
            name: stream(f"/{name}/image_raw", IMAGE, frame=name, pixels=name.encode()) for name in ("front", "wrist")
        },
        drains=(
            drain("arm", "/target_pose", POSE),
            drain("hand", "/gripper_controller/commands", "std_msgs/msg/Float64MultiArray"),
        ),
        policies=("/policy",),
    )  # fmt: skip


def with_joints(**changes: float) -> GraphSnapshot:
    heard = good()
    values = {k: v for k, v in (POSITIONS | changes).items() if v is not None}
    return replace(heard, joints={"joint_states": stream("/joint_states", JOINTS, values=values)})


def with_camera(**changes: object) -> GraphSnapshot:
    heard = good()
    wrist = replace(heard.cameras["wrist"], **changes)
    return replace(heard, cameras={**heard.cameras, "wrist": wrist})


def with_samples(keep: slice = slice(None), **changes: object) -> GraphSnapshot:
    return with_camera(
        samples=tuple(replace(s, **changes) for s in good().cameras["wrist"].samples[keep])
    )


def with_arm(**changes: object) -> GraphSnapshot:
    heard = good()
    return replace(heard, drains=(replace(heard.drains[0], **changes), heard.drains[1]))


MISTAKES = {
    "joint": (with_joints(elbow=None, elbow_1=0.1), ERROR, "joints.names[2]", "Did you mean 'elbow_1'"),
    "degrees": (with_joints(waist=45.0), ERROR, "joints.names[0]", "degrees?"),
    "limits": (with_joints(shoulder=2.0), ERROR, "joints.names[1]", "-1.85005 to 1.25664"),
    "not finite": (with_joints(elbow=float("nan")), ERROR, "joints.names[2]", "nan"),
    "no finger": (with_joints(left_finger=None), ERROR, "outputs.hand.joint", "left_finger"),
    "finger": (with_joints(left_finger=0.3), WARNING, "outputs.hand.open", "outside closed"),
    "nobody": (with_camera(publishers=(), samples=()), ERROR, "cameras.wrist.topic", "/camera/color"),
    "nothing came": (with_camera(samples=()), ERROR, "cameras.wrist.topic", "nothing was received in 1 s"),
    "type": (with_camera(publishers=(DiscoveredEndpoint("/driver", JOINTS),), samples=()), ERROR, "cameras.wrist.topic", f"as {JOINTS}"),
    "clash": (with_camera(publishers=(DiscoveredEndpoint("/driver", IMAGE, "Reliability"),)), ERROR, "cameras.wrist.topic", "Reliability"),
    "rate": (with_samples(slice(0, 50, 25)), ERROR, "cameras.wrist.topic", "2 Hz"),
    "slow": (with_samples(slice(0, 50, 7)), WARNING, "cameras.wrist.topic", "decides at 10 Hz"),
    "zero": (with_samples(stamp_ns=0), ERROR, "cameras.wrist.topic", "stamp zero"),
    "frozen": (with_samples(stamp_ns=NOW_NS), ERROR, "cameras.wrist.topic", "the same stamp"),
    "stale": (with_samples(arrival_ns=NOW_NS + 5_000_000_000), ERROR, "cameras.wrist.topic", "old on arrival"),
    "future": (with_samples(arrival_ns=NOW_NS - 5_000_000_000), ERROR, "cameras.wrist.topic", "in the future"),
    "unreadable": (with_samples(problem="of encoding 'bayer'"), ERROR, "cameras.wrist.topic", "bayer"),
    "twins": (with_samples(pixels=b"front"), ERROR, "cameras.wrist.topic", "the same image"),
    "plain": (with_samples(plain=True), WARNING, "cameras.wrist.topic", "same colour"),
    "front's frame": (with_samples(frame="front_optical"), WARNING, "cameras.wrist.topic", "matches 'front'"),
    "two commanders": (with_arm(publishers=(DiscoveredEndpoint("/teleop", POSE),)), ERROR, "outputs.arm.topic", "/teleop"),
    "no controller": (with_arm(readers=()), ERROR, "outputs.arm.topic", "no controller listens"),
    "controller's type": (with_arm(readers=(DiscoveredEndpoint("/c", JOINTS),)), ERROR, "outputs.arm.topic", "/c reads it as"),
    "no action": (with_arm(type="", service="/a/_action/send_goal"), ERROR, "outputs.arm.topic", "no server"),
    "no servo": (with_arm(service="/servo_node/switch_command_type"), ERROR, "outputs.arm.topic", "no server"),
    "two policies": (replace(good(), policies=("/a", "/b")), ERROR, "", "2 policies"),
    "tf": (replace(good(), tf={"ee": "no transform"}), ERROR, "ee_pose.tf_frame", "no transform"),
}  # fmt: skip


def test_nothing_is_found_in_a_robot_as_it_should_be():
    assert check_topics(good(), SHEET) == ()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_mistake_at_a_time(mistake):
    heard, level, key, words = MISTAKES[mistake]
    found = check_topics(heard, SHEET)
    assert [f for f in found if (f.level, f.key) == (level, key) and words in str(f)], found
    assert {f.key for f in found} == {key}
    assert all(f.where.startswith(SHEET.place.file) for f in found)


def test_the_frame_of_a_pose_and_swapped_cameras():
    heard = good()
    world = stream("/ee_pose", POSE, frame="world", values={"x": 300.0, "y": 0.0, "z": 0.2})
    told = " ".join(map(str, check_topics(replace(heard, poses={"ee": world}), SHEET)))
    assert "frame 'world', base_frame is 'base_link'" in told and "mm?" in told
    swapped = {
        name: stream(f"/{name}/image_raw", IMAGE, frame=f"{other}_optical_frame")
        for name, other in (("front", "wrist"), ("wrist", "front"))
    }
    found = check_topics(replace(heard, cameras=swapped), SHEET)
    assert [f.level for f in found] == [ERROR, ERROR]


def test_the_table_has_a_verdict_for_every_topic():
    heard, _, _, _ = MISTAKES["no controller"]
    console = Console(width=120)
    with console.capture() as captured:
        print_topics(heard, check_topics(heard, SHEET), console)
    lines = captured.get().splitlines()
    row = {topic: next(t for t in lines if topic in t) for topic in ("/target_pose", "/joint_states", "/front/image_raw")}  # fmt: skip
    assert "error" in row["/target_pose"] and "nobody" in row["/target_pose"]
    assert "ok" in row["/joint_states"] and "50.0" in row["/joint_states"] and "0.010" in row["/joint_states"]  # fmt: skip
    assert "ok" in row["/front/image_raw"]


def test_findings_are_counted():
    heard, _, _, _ = MISTAKES["zero"]
    told = format_findings(check_topics(heard, SHEET), "vx300s")
    assert told.endswith("vx300s: 1 error, 0 warnings")
    assert format_findings((), "vx300s") == "vx300s: nothing wrong found"
