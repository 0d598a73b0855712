"""Messages as received by a recorder or read from a bag, and their values, without ROS.

The numbers equal those of ros/messages for the same bytes: images are decoded by the same
functions, everything else by the types of rosbags.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from rosbags.serde import SerdeError

from vla_policy.data.bag.definitions import type_store
from vla_policy.data.transforms import TF_TYPE, Link
from vla_policy.parsing.files import one_line
from vla_policy.runtime.cdr import pixels_of_serialized, stamp_of_serialized
from vla_policy.runtime.poses import unit_pose
from vla_policy.timing import NS_PER_S
from vla_policy.types import Array

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
JOINTS, POSE = "sensor_msgs/msg/JointState", "geometry_msgs/msg/PoseStamped"
TWIST, NUMBERS = "geometry_msgs/msg/TwistStamped", "std_msgs/msg/Float64MultiArray"
TRAJECTORY, STRING = "trajectory_msgs/msg/JointTrajectory", "std_msgs/msg/String"
CONTROL_COMMAND, CONTROL_STATUS = "vla_policy/msg/ControlCommand", "vla_policy/msg/ControlStatus"
POINT = "geometry_msgs/msg/PointStamped"
OUTCOME, SIM_EVENT = "vla_policy/msg/InstructionOutcome", "vla_policy/msg/SimEvent"
LITTLE_AND_BIG = (b"\x00\x01", b"\x00\x00")
HEADER = ("header", "std_msgs/msg/Header")


@dataclass(frozen=True, slots=True)
class Message:
    """One message as received. topic: its full name. type: as 'std_msgs/msg/String'.

    stamp_ns:    of its header; the time of receipt without one. Node clock.
    received_ns: the time of receipt, node clock.
    data:        serialized (CDR), unchanged.
    """

    topic: str
    type: str
    stamp_ns: int
    received_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class CommandReport:
    """One tick of the control node (msg/ControlCommand.msg). mode: the control mode; '' if absent.

    proposed, sent: float64[d] in the order of names, NaN for a column without a command; None:
    no command at all.
    reasons: codes of the checks that acted.
    """

    stamp_ns: int
    names: tuple[str, ...]
    proposed: Array | None
    sent: Array | None
    level: int
    control_source: str
    instruction: str
    reasons: tuple[str, ...] = ()
    mode: str = ""


@dataclass(frozen=True, slots=True)
class StatusReport:
    """State of the control node (msg/ControlStatus.msg). mode: the control mode; '' if absent."""

    engaged: bool
    mode: str
    level: int
    reason: str
    detail: str
    shadow: bool


class Decoder:
    """Values of messages. definitions: type -> text, as in the bag they come from.

    Every method raises ValueError, in one sentence with the topic, for bytes that do not match the
    type; the caller treats that message as not received.
    """

    def __init__(self, definitions: Mapping[str, str] = MappingProxyType({})) -> None:
        self._store = type_store(definitions)
        self._stamped: dict[str, bool] = {}

    def message(self, topic: str, type_name: str, data: bytes, received_ns: int) -> Message:
        """A message with its stamp.

        Without a header or a set stamp, the time of receipt is used.
        """
        stamp_ns = received_ns
        if self._has_header(type_name):
            try:
                stamp_ns = stamp_of_serialized(data, topic)
            except ValueError:
                stamp_ns = received_ns  # the message is kept; its users refuse it
        return Message(topic, type_name, stamp_ns, received_ns, data)

    def joints(self, message: Message) -> tuple[list[str], Array]:
        """(names, positions float64) of a JointState, as its topic writes them."""
        found = self._decode(message, JOINTS)
        return list(found.name), found.position

    def pose(self, message: Message, frame_id: str) -> Array:
        """float64[7] x y z qx qy qz qw of a PoseStamped given in frame_id."""
        found = self._decode(message, POSE)
        p, q = found.pose.position, found.pose.orientation
        values = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
        return unit_pose(values, found.header.frame_id, frame_id, message.topic)

    def point(self, message: Message, frame_id: str) -> Array:
        """float64[3] x y z of a PointStamped given in frame_id."""
        found = self._decode(message, POINT)
        values = np.array([found.point.x, found.point.y, found.point.z])
        if found.header.frame_id != frame_id or not np.isfinite(values).all():
            raise ValueError(
                f"{message.topic}: got {values.tolist()} in {found.header.frame_id!r}, "
                f"expected a finite point in {frame_id!r}"
            )
        return values

    def transforms(self, message: Message) -> list[Link]:
        """The links of a TFMessage, unchanged."""
        found = []
        for transform in self._decode(message, TF_TYPE).transforms:
            place, turn = transform.transform.translation, transform.transform.rotation
            stamp = transform.header.stamp
            pose = np.array([place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w])
            names = (transform.header.frame_id.lstrip("/"), transform.child_frame_id.lstrip("/"))
            found.append(Link(*names, int(stamp.sec) * NS_PER_S + int(stamp.nanosec), pose))
        return found

    def twist(self, message: Message) -> Array:
        """float64[6] vx vy vz wx wy wz of a TwistStamped."""
        twist = self._decode(message, TWIST).twist
        linear, angular = twist.linear, twist.angular
        return np.array([linear.x, linear.y, linear.z, angular.x, angular.y, angular.z])

    def numbers(self, message: Message) -> Array:
        """float64 of a Float64MultiArray."""
        return np.array(self._decode(message, NUMBERS).data, dtype=np.float64)

    def trajectory(self, message: Message) -> tuple[list[str], Array]:
        """(joint names, positions float64[points, joints]) of a JointTrajectory."""
        found = self._decode(message, TRAJECTORY)
        names, points = list(found.joint_names), found.points
        if not points or any(len(p.positions) != len(names) for p in points):
            raise ValueError(
                f"{message.topic}: got a trajectory of {len(points)} points, "
                f"expected points with {len(names)} positions each"
            )
        return names, np.array([p.positions for p in points])

    def control_command(self, message: Message) -> CommandReport:
        """One tick of the control node."""
        found = self._decode(message, CONTROL_COMMAND)
        names = tuple(found.names)
        for what in ("proposed", "sent"):
            values = getattr(found, what)
            if len(values) not in (0, len(names)):
                raise ValueError(
                    f"{message.topic}: got {len(values)} {what} values for {len(names)} names"
                )
        return CommandReport(
            stamp_ns=stamp_of_serialized(message.data, message.topic),
            names=names,
            proposed=np.array(found.proposed) if len(found.proposed) else None,
            sent=np.array(found.sent) if len(found.sent) else None,
            level=int(found.level),
            control_source=found.control_source,
            instruction=found.instruction,
            reasons=tuple(found.reasons),
            mode=getattr(found, "mode", ""),  # older recordings have none
        )

    def control_status(self, message: Message) -> StatusReport:
        """The control node's state."""
        found = self._decode(message, CONTROL_STATUS)
        return StatusReport(
            engaged=bool(found.engaged),
            mode=getattr(found, "mode", ""),  # older recordings have none
            level=int(found.level),
            reason=found.reason,
            detail=found.detail,
            shadow=bool(found.shadow),
        )

    def outcome(self, message: Message) -> tuple[str, int, str]:
        """(instruction, outcome of ExecuteInstruction.Result, sentence) of an InstructionOutcome."""
        found = self._decode(message, OUTCOME)
        return str(found.instruction), int(found.outcome), str(found.message)

    def target_outside(self, message: Message) -> tuple[str, ...] | None:
        """Cameras without the task's object in their image, of a SimEvent; None if unknown."""
        found = self._decode(message, SIM_EVENT)
        cameras = getattr(found, "target_outside", None)  # older recordings have none
        return None if cameras is None or not found.instruction else tuple(cameras)

    def text(self, message: Message) -> str:
        """The text of a String."""
        return str(self._decode(message, STRING).data)

    def _decode(self, message: Message, type_name: str) -> Any:
        if message.type != type_name:
            raise ValueError(f"{message.topic}: got a {message.type}, expected a {type_name}")
        data = message.data
        try:
            if data[:2] not in LITTLE_AND_BIG:
                raise ValueError(f"they begin with {data[:2].hex() or 'nothing'}")
            # Not by deserialize_cdr: it refuses the bytes that Fast DDS leaves behind the last field.
            known = self._store.get_msgdef(type_name)
            read = known.deserialize_cdr_le if data[1] & 1 else known.deserialize_cdr_be
            return read(data[4:], 0, known.cls, self._store)[0]
        except _BROKEN as error:
            raise ValueError(
                f"{message.topic}: got {len(message.data)} bytes that are no {type_name.rpartition('/')[2]}: {one_line(error)}"
            ) from error

    def _has_header(self, type_name: str) -> bool:
        known = self._stamped.get(type_name)
        if known is None:
            fields = self._store.fielddefs.get(type_name, ((), ()))[1]
            known = bool(fields) and fields[0][0] == HEADER[0] and fields[0][1][1] == HEADER[1]
            self._stamped[type_name] = known
        return known


# Exceptions of the generated readers for truncated bytes, invalid lengths and invalid text.
_BROKEN = (
    AssertionError, IndexError, KeyError, MemoryError, OverflowError, UnicodeDecodeError, ValueError,
    struct.error, BufferError, TypeError, SerdeError,
)  # fmt: skip


def pixels(message: Message) -> Array:
    """uint8[h, w, 3] RGB of an Image or a CompressedImage. Raises ValueError as runtime/cdr.py does."""
    if message.type not in (IMAGE, COMPRESSED):
        raise ValueError(
            f"{message.topic}: got a {message.type}, expected a {IMAGE} or a {COMPRESSED}"
        )
    return pixels_of_serialized(message.data, message.topic, compressed=message.type == COMPRESSED)
