"""A running graph against a robot file: joints, poses, cameras, publishers and subscribers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from vla_policy.check.robot_model import nearest
from vla_policy.check.streams import check_clash, check_stream, check_type, others
from vla_policy.check.topic_samples import CommandSink, GraphSnapshot
from vla_policy.embodiment.embodiment_file import EmbodimentFile
from vla_policy.embodiment.findings import ERROR, Finding, error, warning
from vla_policy.runtime.plausibility import (
    camera_name_mismatch,
    in_degrees,
    out_of_range,
    swapped_cameras,
)

WAY = 0.25  # of a gripper's range, outside its ends
FAR_M = 10.0


def check_topics(heard: GraphSnapshot, sheet: EmbodimentFile) -> tuple[Finding, ...]:
    """All findings, the most severe first."""
    found = [
        *_joints(heard, sheet),
        *_poses(heard, sheet),
        *_cameras(heard, sheet),
        *(f for drain in heard.drains for f in _drain(heard, drain, sheet)),
        *_policies(heard, sheet),
    ]
    return tuple(sorted(dict.fromkeys(found), key=lambda f: f.level != ERROR))


def _joints(heard: GraphSnapshot, sheet: EmbodimentFile) -> Iterator[Finding]:
    robot, topics = sheet.robot, sheet.robot.joints.topics
    told: dict[str, float] = {}
    for topic, stream in heard.joints.items():
        named = sheet.at("joints", "topic", topic)
        place = named if named.path in sheet.place.lines else sheet.at("joints", "topic")
        yield from check_stream(
            heard, stream, place, max_age_s=robot.joints.max_age_s, policy_hz=robot.policy_hz
        )
        for sample in stream.samples:
            told |= {topics[topic] + name: value for name, value in sample.values.items()}
    if not told:
        return
    for i, name in enumerate(robot.joint_names):
        if name not in told:
            says = f"no joint {name!r} on {robot.joints.topic}"
            yield error(sheet.at("joints", "names", i), says, nearest(name, told))
    yield from _positions(told, sheet)
    yield from _grippers(told, sheet)


def _positions(told: dict[str, float], sheet: EmbodimentFile) -> Iterator[Finding]:
    joints = sheet.robot.joints
    for i, name in enumerate(joints.names):
        if name not in told:
            continue
        place = sheet.at("joints", "names", i)
        raw, wire = told[name], joints.wire
        value = raw if wire is None else float(wire.scale[i] * raw + wire.offset[i])
        if not math.isfinite(value):
            yield error(place, f"joint {name!r} is {value}", "Restart or repair its driver")
        elif (problem := out_of_range(joints, i, value)) is not None:
            yield error(
                place,
                problem,
                "Write wire: {unit: deg} below joints if the topic is in degrees"
                if in_degrees(joints, value)
                else "See unit, wire, zero and limits of this joint",
            )
    raws = [told[name] for name in joints.names if name in told]
    at = sheet.at("joints", "wire", "unit")
    degrees_wire = joints.wire is not None and np.allclose(joints.wire.scale, np.pi / 180)
    if degrees_wire and len(raws) > 2 and max(map(abs, raws)) < math.pi and any(raws):
        yield warning(
            at,
            f"no joint is outside {max(map(abs, raws)):.3g} degrees: is the topic in radians?",
            "If it is, leave wire out",
        )


def _grippers(told: dict[str, float], sheet: EmbodimentFile) -> Iterator[Finding]:
    for group, output in sheet.robot.outputs.items():
        if output.joint is None or output.open is None or output.closed is None:
            continue
        if output.joint not in told:
            says = f"no joint {output.joint!r} on {sheet.robot.joints.topic}"
            yield error(sheet.at("outputs", group, "joint"), says, nearest(output.joint, told))
            continue
        value, way = told[output.joint], abs(output.open - output.closed)
        low, high = sorted((output.open, output.closed))
        if not low - WAY * way <= value <= high + WAY * way:
            yield warning(
                sheet.at("outputs", group, "open"),
                f"{output.joint!r} is at {value:.4g}, outside closed {output.closed:g} and open {output.open:g}",
                "Move it to both ends by hand and write the topic's values there",
            )


def _poses(heard: GraphSnapshot, sheet: EmbodimentFile) -> Iterator[Finding]:
    robot = sheet.robot
    for tool, stream in heard.poses.items():
        place, source = sheet.pose_at(tool, "topic"), robot.poses[tool]
        yield from check_stream(
            heard, stream, place, max_age_s=source.max_age_s, policy_hz=robot.policy_hz
        )
        frames = {s.frame for s in stream.samples} - {robot.base_frame}
        for frame in sorted(frames):
            base = sheet.at("base_frame").where
            yield error(
                place,
                f"{stream.topic} is in frame {frame!r}, base_frame is {robot.base_frame!r} ({base})",
                f"Write {frame!r} there if that is the arm's base, else have the pose published in it",
            )
        for sample in stream.samples[-1:]:
            if sample.values and max(map(abs, sample.values.values())) > FAR_M:
                says = f"{stream.topic}: the tool is {max(sample.values.values()):.4g} m away: mm?"
                yield error(place, says, "Poses are in metres")
    for tool, problem in heard.tf.items():
        change = (
            "See `ros2 run tf2_tools view_frames`; robot_state_publisher gives the arm's frames"
        )
        yield error(sheet.pose_at(tool, "tf_frame"), problem, change)


def _cameras(heard: GraphSnapshot, sheet: EmbodimentFile) -> Iterator[Finding]:
    robot = sheet.robot
    frames: dict[str, str] = {}
    for name, stream in heard.cameras.items():
        camera, place = robot.cameras[name], sheet.at("cameras", name, "topic")
        yield from check_stream(
            heard, stream, place, max_age_s=camera.max_age_s, policy_hz=robot.policy_hz
        )
        frames[name] = stream.samples[-1].frame if stream.samples else ""
        if any(s.plain for s in stream.samples):
            says = f"{stream.topic}: every pixel has the same colour"
            yield warning(place, says, "Is the lens covered, or the exposure wrong?")
    swapped = swapped_cameras(frames) or ()
    for name, frame in frames.items():
        other = camera_name_mismatch(name, frame, robot.camera_names)
        if other is None:
            continue
        place = sheet.at("cameras", name, "topic")
        says = f"camera {name!r} sends images of frame {frame!r}, which matches {other!r}"
        make = error if name in swapped else warning
        yield make(place, says, f"Are the topics of {name!r} and {other!r} swapped? Exchange them")
    yield from _twins(heard, sheet)


def _twins(heard: GraphSnapshot, sheet: EmbodimentFile) -> Iterator[Finding]:
    """Two cameras with identical images."""
    seen: dict[bytes, str] = {}
    for name, stream in heard.cameras.items():
        for pixels in {s.pixels for s in stream.samples if s.pixels and not s.plain}:
            if seen.setdefault(pixels, name) != name:
                yield error(
                    sheet.at("cameras", name, "topic"),
                    f"cameras {seen[pixels]!r} and {name!r} send the same image",
                    "Name the topic of each camera",
                )


def _drain(heard: GraphSnapshot, drain: CommandSink, sheet: EmbodimentFile) -> Iterator[Finding]:
    place = sheet.at("outputs", drain.group, "topic")
    if drain.publishers:
        nodes = ", ".join(sorted({p.node for p in drain.publishers}))
        yield error(
            place,
            f"{nodes} publishes commands on {drain.topic} too: two publishers",
            "End it, or give it another topic; two commanders pull the arm to and fro",
        )
    if drain.service and drain.served is None:
        yield error(
            place,
            f"no server of {drain.service}",
            "Start the controller, see its name and namespace",
        )
    if drain.service and not drain.type:
        return
    if not drain.readers:
        yield error(
            place,
            f"no controller listens to {drain.topic} ({drain.type})",
            f"Start or activate it. {others(heard.read, drain.topic, drain.type)}",
        )
        return
    yield from check_type(place, drain.topic, drain.type, drain.readers, "reads")
    yield from check_clash(place, drain.topic, drain.readers, "reads")


def _policies(heard: GraphSnapshot, sheet: EmbodimentFile) -> Iterator[Finding]:
    if len(heard.policies) > 1:
        yield error(
            sheet.place,
            f"{len(heard.policies)} policies send chunks: {', '.join(heard.policies)}",
            "End all but one",
        )
