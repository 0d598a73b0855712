"""Messages to the values of vla_policy.types and back; the only module that imports both.

Every *_from_msg raises ValueError with the topic for an invalid message; the
caller treats that message as not received. Stamps are integer nanoseconds of the node's clock.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import PoseStamped, TwistStamped
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Header

from vla_policy import msg as vla_msg
from vla_policy.runtime.images import decode_compressed, decode_raw
from vla_policy.runtime.poses import unit_pose
from vla_policy.timing import NS_PER_S
from vla_policy.types import ActionChunk, Array

MAX_ROWS = 1000
MAX_COLUMNS = 128


def ns_from_stamp(stamp: Time | Duration) -> int:
    """Integer nanoseconds of a builtin_interfaces Time or Duration."""
    return stamp.sec * NS_PER_S + stamp.nanosec


def stamp_from_ns(time_ns: int) -> Time:
    """builtin_interfaces/Time of time_ns >= 0. Raises ValueError where it does not fit."""
    return Time(**_split(time_ns, "stamp"))


def duration_from_ns(duration_ns: int) -> Duration:
    """builtin_interfaces/Duration of duration_ns >= 0. Raises ValueError where it does not fit."""
    return Duration(**_split(duration_ns, "duration"))


def header_ns(header: Header, topic: str) -> int:
    """The stamp of a header in ns. Raises ValueError if it was never set (zero)."""
    stamp_ns = ns_from_stamp(header.stamp)
    if not stamp_ns > 0:
        raise ValueError(
            f"{topic}: got stamp {stamp_ns} ns, expected the time of measurement (> 0)"
        )
    return stamp_ns


def image_from_msg(msg: Image | CompressedImage, topic: str) -> Array:
    """Pixels of a raw or compressed image as a new uint8[h, w, 3] RGB."""
    if isinstance(msg, CompressedImage):
        return decode_compressed(msg.data, msg.format, where=topic)
    return decode_raw(
        msg.data,
        msg.encoding,
        height=msg.height,
        width=msg.width,
        step=msg.step,
        bigendian=bool(msg.is_bigendian),
        where=topic,
    )


def image_to_msg(image: Array, *, stamp_ns: int, frame_id: str) -> Image:
    """sensor_msgs/Image of encoding rgb8 from uint8[h, w, 3] RGB."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image: got {image.dtype}{list(image.shape)}, expected uint8[h, w, 3]")
    height, width, _ = image.shape
    msg = Image(height=height, width=width, encoding="rgb8", is_bigendian=0, step=3 * width)
    msg.header = Header(stamp=stamp_from_ns(stamp_ns), frame_id=frame_id)
    msg.data = array("B", image.tobytes())  # an array("B") is not checked byte by byte, bytes are
    return msg


def joints_to_msg(names: Sequence[str], positions: Array, *, stamp_ns: int) -> JointState:
    """JointState with positions only; positions: float64[j] in the order of names."""
    if len(names) != len(positions):
        raise ValueError(f"joints: got {len(positions)} positions for {len(names)} names")
    msg = JointState(name=list(names), position=[float(value) for value in positions])
    msg.header = Header(stamp=stamp_from_ns(stamp_ns))
    return msg


def pose_from_msg(msg: PoseStamped, frame_id: str, topic: str) -> Array:
    """float64[7] x y z qx qy qz qw (m, unit quaternion) of a pose that is given in frame_id."""
    p, q = msg.pose.position, msg.pose.orientation
    values = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w], dtype=np.float64)
    return unit_pose(values, msg.header.frame_id, frame_id, topic)


def pose_to_msg(pose: Array, *, stamp_ns: int, frame_id: str) -> PoseStamped:
    """PoseStamped of float64[7] x y z qx qy qz qw in frame_id."""
    if pose.shape != (7,):
        raise ValueError(f"pose: got shape {pose.shape}, expected (7,)")
    msg = PoseStamped(header=Header(stamp=stamp_from_ns(stamp_ns), frame_id=frame_id))
    p, q = msg.pose.position, msg.pose.orientation
    p.x, p.y, p.z, q.x, q.y, q.z, q.w = (float(value) for value in pose)
    return msg


def twist_to_msg(
    names: Sequence[str], values: Array, *, stamp_ns: int, frame_id: str
) -> TwistStamped:
    """TwistStamped of m/s and rad/s in frame_id; names end in .vx to .vz or .wx to .wz."""
    msg = TwistStamped(header=Header(stamp=stamp_from_ns(stamp_ns), frame_id=frame_id))
    for name, value in zip(names, values, strict=True):
        axis = name.rpartition(".")[2]
        vector = msg.twist.linear if axis[0] == "v" else msg.twist.angular
        setattr(vector, axis[1], float(value))
    return msg


def chunk_from_msg(msg: vla_msg.ActionChunk, topic: str) -> ActionChunk:
    """An action chunk whose sizes agree. Values are not judged here: the guard does that."""
    columns, rows, model_columns = len(msg.names), msg.rows, msg.model_columns
    if not (1 <= rows <= MAX_ROWS and 1 <= columns <= MAX_COLUMNS):
        raise ValueError(
            f"{topic}: got {rows} rows of {columns} names, "
            f"expected 1 to {MAX_ROWS} rows of 1 to {MAX_COLUMNS} names"
        )
    if len(set(msg.names)) != columns:
        raise ValueError(f"{topic}: a name is there twice in {list(msg.names)}")
    if len(msg.values) != rows * columns:
        raise ValueError(
            f"{topic}: got {len(msg.values)} values, expected {rows} rows x {columns} names"
        )
    if not model_columns <= MAX_COLUMNS or len(msg.model_values) != rows * model_columns:
        raise ValueError(
            f"{topic}: got {len(msg.model_values)} model values, expected {rows} x {model_columns}"
        )
    if not msg.frozen_rows <= rows:
        raise ValueError(f"{topic}: got {msg.frozen_rows} frozen rows of {rows}")
    step_ns = ns_from_stamp(msg.step)
    if not step_ns > 0:
        raise ValueError(f"{topic}: got step {step_ns} ns, expected > 0")
    return ActionChunk(
        actions=np.array(msg.values, dtype=np.float64).reshape(rows, columns),
        names=tuple(msg.names),
        obs_ns=header_ns(msg.header, topic),
        step_ns=step_ns,
        sequence=msg.sequence,
        instruction=msg.instruction,
        plan=msg.plan,
        terminate=msg.terminate,
        infer_ns=ns_from_stamp(msg.inference_time),
        frozen_rows=msg.frozen_rows,
        model_actions=_model_actions(msg),
        continues=msg.continues_sequence if msg.continues else None,
        instruction_change=msg.instruction_change,
        adapter=msg.adapter,
    )


def chunk_to_msg(chunk: ActionChunk, *, frame_id: str) -> vla_msg.ActionChunk:
    """The message of a chunk; frame_id: base frame of its poses."""
    rows, _ = chunk.actions.shape
    msg = vla_msg.ActionChunk(
        header=Header(stamp=stamp_from_ns(chunk.obs_ns), frame_id=frame_id),
        step=duration_from_ns(chunk.step_ns),
        sequence=chunk.sequence,
        names=list(chunk.names),
        rows=rows,
        values=array("d", chunk.actions.ravel().tolist()),
        instruction=chunk.instruction,
        plan=chunk.plan,
        terminate=chunk.terminate,
        inference_time=duration_from_ns(chunk.infer_ns),
        instruction_change=chunk.instruction_change,
        continues=chunk.continues is not None,
        continues_sequence=chunk.continues or 0,
        frozen_rows=chunk.frozen_rows,
        adapter=chunk.adapter,
    )
    if chunk.model_actions is not None:
        msg.model_columns = chunk.model_actions.shape[1]
        msg.model_values = array("d", chunk.model_actions.ravel().tolist())
    return msg


def _model_actions(msg: vla_msg.ActionChunk) -> Array | None:
    if msg.model_columns == 0:
        return None
    return np.array(msg.model_values, dtype=np.float64).reshape(msg.rows, msg.model_columns)


def _split(time_ns: int, what: str) -> dict[str, int]:
    sec, nanosec = divmod(int(time_ns), NS_PER_S)
    if not 0 <= sec < 2**31:
        raise ValueError(f"{what}: got {time_ns} ns, expected 0 to {2**31 - 1} s")
    return {"sec": sec, "nanosec": nanosec}
