"""Serialized messages made without ROS, and a small robot whose streams they are."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from vla_policy.data.bag.definitions import type_store
from vla_policy.data.streams import Decoder, Message
from vla_policy.embodiment import load_embodiment

S = 1_000_000_000
MS = 1_000_000
START = 1_700_000_000 * S


@lru_cache(maxsize=1)
def store():
    return type_store()


@lru_cache(maxsize=1)
def decoder():
    return Decoder()


def robot(name="so101", **changes):
    return replace(load_embodiment(name), **changes)


def of(kind, **fields):
    return store().types[kind](**fields)


def header(stamp_ns, frame=""):
    sec, nanosec = divmod(stamp_ns, S)
    return of(
        "std_msgs/msg/Header",
        stamp=of("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec),
        frame_id=frame,
    )


def packed(topic, kind, value, received_ns):
    data = bytes(store().serialize_cdr(value, kind))
    return decoder().message(topic, kind, data, received_ns)


def image(topic, stamp_ns, pixels, received_ns=None):
    height, width, _ = pixels.shape
    kind = "sensor_msgs/msg/Image"
    value = of(
        kind, header=header(stamp_ns, "camera"), height=height, width=width, encoding="rgb8",
        is_bigendian=0, step=3 * width, data=np.ascontiguousarray(pixels).reshape(-1),
    )  # fmt: skip
    return packed(topic, kind, value, stamp_ns if received_ns is None else received_ns)


def compressed(topic, stamp_ns, data, received_ns=None):
    kind = "sensor_msgs/msg/CompressedImage"
    value = of(
        kind,
        header=header(stamp_ns),
        format="rgb8; jpeg compressed bgr8",
        data=np.frombuffer(data, np.uint8),
    )
    return packed(topic, kind, value, stamp_ns if received_ns is None else received_ns)


def joints(topic, stamp_ns, names, positions, received_ns=None):
    kind = "sensor_msgs/msg/JointState"
    none = np.array([], dtype=np.float64)
    value = of(
        kind, header=header(stamp_ns), name=list(names),
        position=np.array(positions, dtype=np.float64), velocity=none, effort=none,
    )  # fmt: skip
    return packed(topic, kind, value, stamp_ns if received_ns is None else received_ns)


def pose(topic, stamp_ns, values, frame, received_ns=None):
    kind = "geometry_msgs/msg/PoseStamped"
    x, y, z, *turn = (float(v) for v in values)
    value = of(
        kind,
        header=header(stamp_ns, frame),
        pose=of(
            "geometry_msgs/msg/Pose",
            position=of("geometry_msgs/msg/Point", x=x, y=y, z=z),
            orientation=of("geometry_msgs/msg/Quaternion", **dict(zip("xyzw", turn, strict=True))),
        ),
    )
    return packed(topic, kind, value, stamp_ns if received_ns is None else received_ns)


def transforms(topic, links, received_ns):
    """links: of data/transforms.py."""

    def one(link):
        x, y, z, *turn = (float(v) for v in link.pose)
        return of(
            "geometry_msgs/msg/TransformStamped",
            header=header(link.stamp_ns, link.parent),
            child_frame_id=link.child,
            transform=of(
                "geometry_msgs/msg/Transform",
                translation=of("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
                rotation=of(
                    "geometry_msgs/msg/Quaternion", **dict(zip("xyzw", turn, strict=True))
                ),
            ),
        )

    kind = "tf2_msgs/msg/TFMessage"
    return packed(topic, kind, of(kind, transforms=[one(link) for link in links]), received_ns)


def numbers(topic, values, received_ns):
    kind = "std_msgs/msg/Float64MultiArray"
    layout = of("std_msgs/msg/MultiArrayLayout", dim=[], data_offset=0)
    value = of(kind, layout=layout, data=np.array(values, dtype=np.float64))
    return packed(topic, kind, value, received_ns)


def text(topic, words, received_ns):
    kind = "std_msgs/msg/String"
    return packed(topic, kind, of(kind, data=words), received_ns)


def control_status(
    stamp_ns, *, topic="/control_status", engaged, level=0, reason="", detail="", mode="autonomous"
):
    kind, zero = (
        "vla_policy/msg/ControlStatus",
        of("builtin_interfaces/msg/Time", sec=0, nanosec=0),
    )
    none, three = np.array([], dtype=np.uint64), np.zeros(3)
    value = of(
        kind, header=header(stamp_ns), engaged=engaged, mode=mode, shadow=False, level=level, reason=reason,
        detail=detail, intervention_names=[], intervention_counts=none, commands_sent=0, queued_rows=0,
        chunk_sequence=0, chunk_start=zero, chunk_taken=zero, scheme="receding", instruction="", chunk_age=-1.0,
        joint_state_age=0.0, ee_pose_age=0.0, command_lateness=three, chunk_latency=three,
    )  # fmt: skip
    return packed(topic, kind, value, stamp_ns)


def command(
    stamp_ns, names, *, sent=None, proposed=None, level=0, source="policy", instruction="", mode="",
    received_ns=None, topic="/control_command", reasons=(),
):  # fmt: skip
    kind = "vla_policy/msg/ControlCommand"
    none = np.array([], dtype=np.float64)
    known = {name for name, _ in store().fielddefs[kind][1]}
    value = of(
        kind, **({"mode": mode} if "mode" in known else {}), header=header(stamp_ns), names=list(names),
        proposed=none if proposed is None else np.array(proposed, dtype=np.float64),
        sent=none if sent is None else np.array(sent, dtype=np.float64),
        level=level, reasons=list(reasons), control_source=source, chunk_sequence=0, instruction=instruction,
    )  # fmt: skip
    return packed(topic, kind, value, stamp_ns if received_ns is None else received_ns)


def sim_event(stamp_ns, *, outside=(), instruction="lift the cube", topic="/sim_event"):
    kind = "vla_policy/msg/SimEvent"
    value = of(
        kind, header=header(stamp_ns), instruction=instruction, success=False, ever_success=False, seed=7,
        split="train", detail="", target_outside=list(outside),
    )  # fmt: skip
    return packed(topic, kind, value, stamp_ns)


def point(topic, xyz, stamp_ns, frame):
    kind = "geometry_msgs/msg/PointStamped"
    x, y, z = (float(v) for v in xyz)
    place = of("geometry_msgs/msg/Point", x=x, y=y, z=z)
    return packed(topic, kind, of(kind, header=header(stamp_ns, frame), point=place), stamp_ns)


def picture(number, height=24, width=32):
    """uint8[h, w, 3] that tells its number, and looks like more than one colour."""
    rows = np.arange(height)[:, None, None] * 3
    columns = np.arange(width)[None, :, None] * 2
    tint = np.array([number * 37, number * 11, number * 5])[None, None, :]
    return ((rows + columns + tint) % 256).astype(np.uint8)


def take(a_robot, seconds=1.0, *, camera_hz=30, state_hz=100, command_hz=60, latency_ns=5 * MS):
    """All messages of a take, in the order in which they come; everything moves."""
    names = a_robot.joint_names
    found: list[Message] = []
    for camera in a_robot.cameras.values():
        for i in range(int(seconds * camera_hz)):
            stamp = START + round(i * S / camera_hz)
            found.append(image(f"/{camera.topic}", stamp, picture(i), stamp + 4 * latency_ns))
    for topic in a_robot.joints.topics:
        for i in range(int(seconds * state_hz)):
            stamp = START + round(i * S / state_hz)
            positions = np.linspace(-0.5, 0.5, len(names)) + 0.001 * i
            found.append(joints(f"/{topic}", stamp, names, positions, stamp + latency_ns))
    for i in range(int(seconds * command_hz)):
        stamp = START + round(i * S / command_hz)
        sent = np.linspace(-0.4, 0.6, len(names)) + 0.002 * i
        found.append(
            command(stamp, [f"joint.{n}" for n in names], sent=sent, proposed=sent + 0.01,
                    instruction="lift the cube", received_ns=stamp + latency_ns)
        )  # fmt: skip
    return sorted(found, key=lambda m: m.received_ns)
