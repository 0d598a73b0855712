"""Cameras, frames, rates and ages of a robot file that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator

from vla_policy.embodiment.embodiment_file import EmbodimentFile
from vla_policy.embodiment.findings import Finding, error, warning
from vla_policy.embodiment.spaces import QUATERNION_PARTS

TICKS = 2  # an input or chunk must stay valid for this many periods of its reader


def check_cameras(sheet: EmbodimentFile) -> Iterator[Finding]:
    """Topics against types and against each other's names."""
    cameras = sheet.robot.cameras
    for name, camera in cameras.items():
        last = camera.topic.rpartition("/")[2]
        place = sheet.at("cameras", name, "type")
        if last in ("compressedDepth", "theora", "ffmpeg", "zstd"):
            yield error(
                sheet.at("cameras", name, "topic"),
                f"transport {last!r} is not read",
                "Take the raw topic, or the one that ends in /compressed",
            )
        elif last == "compressed" and camera.type != "compressed":
            yield error(
                place, f"{camera.topic} has CompressedImage messages", "Write type: compressed"
            )
        elif last != "compressed" and camera.type == "compressed":
            yield warning(
                place,
                f"{camera.topic} does not end in /compressed",
                "If it has raw messages, write type: image",
            )
        if "depth" in camera.topic.lower() and "depth" not in name.lower():
            yield warning(
                sheet.at("cameras", name, "topic"),
                f"{camera.topic} looks like depth",
                "Policies see colour; take the colour topic",
            )
    yield from _swapped(sheet)


def _swapped(sheet: EmbodimentFile) -> Iterator[Finding]:
    """A camera whose topic has another camera's name and not its own."""
    topics = {name: camera.topic.lower() for name, camera in sheet.robot.cameras.items()}
    taken = {
        name: other
        for name, topic in topics.items()
        for other in topics
        if other != name and other.lower() in topic and name.lower() not in topic
    }
    for name, other in taken.items():
        says = f"camera {name!r} has a topic that matches camera {other!r}: {topics[name]}"
        place = sheet.at("cameras", name, "topic")
        if taken.get(other) == name:
            change = f"The topics of {name!r} and {other!r} are swapped: exchange them"
            yield error(place, says, change)
        else:
            yield warning(place, says, "See with a viewer which camera it is")


def check_frames(sheet: EmbodimentFile) -> Iterator[Finding]:
    """Frames of the base, the tool and its measured pose."""
    robot = sheet.robot
    if robot.base_frame == robot.tool_frame:
        yield error(
            sheet.at("tool_frame"),
            f"the tool and the base are both {robot.tool_frame!r}",
            "Name the frame at the fingers' end",
        )
    if len(robot.poses) != 1:
        return
    keys = {"tf": "tf_frame", "model": "model_body"}
    for tool, source in robot.poses.items():
        if source.kind in keys and source.frame != robot.tool_frame:
            yield warning(
                sheet.pose_at(tool, keys[source.kind]),
                f"the measured pose is of {source.frame!r}, tool_frame is {robot.tool_frame!r}",
                "Policies were trained with one of them; name that one in both places",
            )


def check_rates(sheet: EmbodimentFile) -> Iterator[Finding]:
    """Maximum ages that are shorter than the period in which new data arrives."""
    robot = sheet.robot
    policy_s, command_s = 1 / robot.policy_hz, 1 / robot.command_hz
    if robot.limits.max_chunk_age_s < TICKS * policy_s:
        yield error(
            sheet.at("limits", "max_chunk_age_s"),
            f"a chunk may be {robot.limits.max_chunk_age_s:g} s old, its rows are {policy_s:g} s apart: "
            "it is gone before its second row",
            "Give it the time of several rows and of one inference",
        )
    ages = {"joints": (sheet.at("joints", "max_age_s"), robot.joints.max_age_s)}
    for tool, source in robot.poses.items():
        ages[f"the pose of {tool}"] = (sheet.pose_at(tool, "max_age_s"), source.max_age_s)
    for what, (place, age_s) in ages.items():
        if age_s < TICKS * command_s:
            yield error(
                place,
                f"{what} may be {age_s:g} s old, commands come every {command_s:g} s: most would be held",
                f"At least {TICKS * command_s:g} s",
            )
    for name, camera in robot.cameras.items():
        if camera.max_age_s < robot.camera_max_skew_s:
            yield warning(
                sheet.at("camera_max_skew_s"),
                f"pictures may be {robot.camera_max_skew_s:g} s apart, those of {name!r} at most "
                f"{camera.max_age_s:g} s old",
                "The skew is the smaller of the two",
            )


def check_state(sheet: EmbodimentFile) -> Iterator[Finding]:
    """Quaternions in the state that are not x y z w."""
    state = sheet.robot.state
    for tool in {name.rpartition(".")[0] for name in state if name.endswith(".qw")}:
        order = tuple(n.rpartition(".")[2] for n in state if n.startswith(f"{tool}.q"))
        if order != QUATERNION_PARTS:
            yield error(
                sheet.at("state", state.index(f"{tool}.qw")),
                f"the quaternion stands in the order {' '.join(order)}",
                f"Write {', '.join(f'{tool}.{part}' for part in QUATERNION_PARTS)}: policies read it so",
            )
