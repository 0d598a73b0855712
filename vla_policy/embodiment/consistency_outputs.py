"""Outputs of a robot file that are implausible: inverted grippers, topics of another type, shared joints."""

from __future__ import annotations

from collections.abc import Iterator

from vla_policy.embodiment.description import Output
from vla_policy.embodiment.embodiment_file import EmbodimentFile
from vla_policy.embodiment.findings import Finding, error, warning
from vla_policy.embodiment.spaces import JOINT_PREFIX
from vla_policy.parsing.fields import Place

# Usual endings of topics of each type; a topic with another type's ending is of that type.
ENDINGS = {
    "joint_trajectory": ("joint_trajectory",),
    "float64_multi_array": ("commands",),
    "servo_twist": ("delta_twist_cmds",),
    "servo_pose": ("pose_target_cmds",),
    "twist": ("cmd_vel",),
    "pose": ("target_pose", "target_frame"),
    "gripper_command": ("gripper_cmd", "gripper_action", "follow_joint_trajectory"),
}
# Names that a robot's topics, services and actions must not have; some also not in a namespace.
OWN_ANYWHERE = (
    "control_status", "control_command", "action_chunk", "active_instruction", "execute_instruction", "get_action_chunk", "set_adapter",
    "plan_subtask",
    "sim_event", "sim_state", "set_scene", "recorder_status", "record_episode",
)  # fmt: skip
OWN = (
    "instruction", "diagnostics", "control/engage", "control/stop", "control/reset", "overview/image_raw",
    "clock", "rosout", "parameter_events", "tf", "tf_static", "robot_description",
)  # fmt: skip
SAME = {"parallel_gripper_command": "gripper_command"}
FINGER, KNUCKLE = ("finger", "slide"), ("knuckle", "drive_joint")
FINGER_M = 0.2  # a finger's range is shorter; larger values are angles
ANGLE = 3.2  # larger values, above half a turn, are percent or mm


def check_topics(sheet: EmbodimentFile) -> Iterator[Finding]:
    """Message types against the topics' names, and commands on topics that are also subscribed."""
    robot = sheet.robot
    heard = {camera.topic: f"camera {name!r}" for name, camera in robot.cameras.items()}
    heard |= dict.fromkeys(robot.joints.topics, "the joint states")
    heard |= {s.topic: f"the pose of {t}" for t, s in robot.poses.items() if s.kind == "topic"}
    bare = {topic.lstrip("/"): what for topic, what in heard.items()}
    seen: dict[str, str] = {}
    for group, output in robot.outputs.items():
        place, name = sheet.at("outputs", group, "topic"), output.topic.lstrip("/")
        yield from _type(sheet, group, output)
        yield from _own(place, output.topic)
        if name in bare:
            yield error(
                place,
                f"commands would go to {output.topic}, where {bare[name]} is heard",
                "Name the controller's topic",
            )
        if name in seen:
            yield error(
                place,
                f"{output.topic} is the topic of {seen[name]!r} too: two publishers of commands",
                "Each group has a controller of its own",
            )
        seen[name] = group


def check_own(sheet: EmbodimentFile) -> Iterator[Finding]:
    """Inputs with a name that this package's nodes or ROS itself use."""
    robot = sheet.robot
    for name, camera in robot.cameras.items():
        yield from _own(sheet.at("cameras", name, "topic"), camera.topic)
    for topic in robot.joints.topics:
        yield from _own(sheet.at("joints", "topic"), topic)
    for tool, source in robot.poses.items():
        if source.kind == "topic":
            yield from _own(sheet.pose_at(tool, "topic"), source.topic)


def _own(place: Place, topic: str) -> Iterator[Finding]:
    name = topic.replace("~/", "control/").lstrip("/")
    if name in OWN or name.rpartition("/")[2] in OWN_ANYWHERE:
        yield error(
            place,
            f"{topic} belongs to this package's own nodes or to ROS, not to a robot",
            "Name the robot's topic",
        )


def _type(sheet: EmbodimentFile, group: str, output: Output) -> Iterator[Finding]:
    last = output.topic.rpartition("/")[2]
    kind = SAME.get(output.type, output.type)
    others = [k for k, ends in ENDINGS.items() if last in ends and k != kind]
    if others and last not in ENDINGS[kind]:
        yield warning(
            sheet.at("outputs", group, "type"),
            f"{output.topic} matches type {others[0]}, not {output.type}",
            "`ros2 topic info` shows its type; change the type or the topic",
        )


def check_joints(sheet: EmbodimentFile) -> Iterator[Finding]:
    """Joints that two outputs would command."""
    robot = sheet.robot
    owner = {
        name.removeprefix(JOINT_PREFIX): g.name
        for g in robot.actions
        if g.space.startswith("joint_")
        for name in g.names
    }
    for group, output in robot.outputs.items():
        joints = [j for j in (output.joint, *output.also) if j is not None]
        for joint in joints:
            if joint in owner:
                yield error(
                    sheet.at("outputs", group, "joint"),
                    f"joint {joint!r} is commanded by group {owner[joint]!r} too",
                    "Leave it in one of them",
                )


def check_grippers(sheet: EmbodimentFile) -> Iterator[Finding]:
    """Fingers open to the larger position, knuckles to the smaller one."""
    for group, output in sheet.robot.outputs.items():
        if output.joint is None or output.open is None or output.closed is None:
            continue
        name, place = output.joint.lower(), sheet.at("outputs", group, "open")
        ends = f"open is {output.open:g}, closed {output.closed:g}"
        finger = any(word in name for word in FINGER)
        knuckle = any(word in name for word in KNUCKLE)
        widest = max(abs(output.open), abs(output.closed))
        if finger and not knuckle and widest <= FINGER_M and output.open < output.closed:
            yield warning(
                place,
                f"{ends}: the fingers of {output.joint!r} would close to open",
                "Exchange the two",
            )
        if knuckle and output.open > output.closed:
            yield warning(
                place,
                f"{ends}: the knuckle {output.joint!r} would close to open",
                "Exchange the two",
            )
        if finger and not knuckle and widest > ANGLE:
            yield warning(
                place,
                f"{ends}: the fingers of {output.joint!r} would go {widest:g}, in m or rad",
                "If that is in mm or percent, write what the controller takes",
            )
