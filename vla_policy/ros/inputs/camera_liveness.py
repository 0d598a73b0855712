"""Whether the cameras are alive: their newest stamps, images that do not change, frames and encodings.

Images are not decoded here. One that no policy could read counts as not received, and so does one
after a gap: a camera is alive with the second image in time, else a slow one would let the robot
move in jerks. A driver that hangs may send its last image again and again under
new stamps; no sensor gives the very same pixels twice while the robot moves in front of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from vla_policy.embodiment import Embodiment
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.runtime.cdr import head_of_serialized, stamp_of_serialized
from vla_policy.runtime.images import require_encoding
from vla_policy.runtime.plausibility import swapped_cameras
from vla_policy.timing import FUTURE_TOLERANCE_NS, ns_from_s, s_from_ns
from vla_policy.types import Array, Reason

HEAD_BYTES = 12  # encoding, options, sec, nanosec
FEW = 997  # each such byte is compared first
MOVED = 0.02  # rad or m of any joint: more than the noise of a robot at rest


@dataclass(slots=True)
class Seen:
    """stamp_ns: of the newest image. before_ns: of the one before it. body: its bytes after the stamp.

    since_ns: when these bytes came first. joints: where the robot was when they were first repeated.
    moved: whether the joints have moved since. frame: of its header.
    """

    stamp_ns: int
    before_ns: int | None
    body: Array
    since_ns: int
    joints: Array | None
    frame: str
    moved: bool = False


class ControlCameras:
    """Subscribes to each camera's raw bytes. joints: where the robot's joints are now."""

    def __init__(
        self,
        node: Node,
        robot: Embodiment,
        log: ChangeLogger,
        *,
        joints: Callable[[], Array | None],
        now_ns: Callable[[], int],
    ) -> None:
        self._node, self._log = node, log
        self._joints, self._now_ns = joints, now_ns
        self._cameras = robot.cameras
        self._seen: dict[str, Seen] = {}
        self._subscriptions: list[Any] = []
        for name, camera in robot.cameras.items():
            kind = CompressedImage if camera.type == "compressed" else Image
            callback = self._callback(name)
            self._subscriptions.append(
                node.create_subscription(kind, camera.topic, callback, qos.SENSOR, raw=True)
            )

    def clear(self) -> None:
        """Forget everything, after the clock jumped."""
        self._seen = {}

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def stamps(self) -> dict[str, int | None]:
        """Camera -> stamp of its newest image that came in time after another; None before that."""
        return {name: self._stamp_of(name) for name in self._cameras}

    def swapped(self) -> Reason | None:
        """The reason if two cameras are swapped, by the frames of their images."""
        found = swapped_cameras({name: seen.frame for name, seen in self._seen.items()})
        if found is None:
            return None
        first, second = found
        frame = self._seen[first].frame
        detail = (
            f"camera {first!r} sends images of frame {frame!r} and {second!r} those of "
            f"{self._seen[second].frame!r}; are their topics swapped?"
        )
        return Reason("swapped_cameras", detail)

    def still(self) -> dict[str, int]:
        """Camera -> since when its pixels are the same although the robot moved; mostly none."""
        return {name: seen.since_ns for name, seen in self._seen.items() if seen.moved}

    def _stamp_of(self, name: str) -> int | None:
        seen = self._seen.get(name)
        if seen is None or seen.before_ns is None:
            return None
        in_time = seen.stamp_ns - seen.before_ns <= ns_from_s(self._cameras[name].max_age_s)
        return seen.stamp_ns if in_time else seen.before_ns

    def _callback(self, name: str) -> Callable[[bytes], None]:
        topic, compressed = self._cameras[name].topic, self._cameras[name].type == "compressed"

        def receive(data: bytes) -> None:
            try:
                stamp_ns = stamp_of_serialized(data, topic)
                require_past(stamp_ns, self._now_ns(), topic)
                head = head_of_serialized(data, topic, compressed=compressed)
                if not compressed:
                    require_encoding(head.encoding, topic)
            except ValueError as error:
                self._log.problem(topic, "refused", f"ignored: {error}")
                return
            self._log.fine(topic, f"{topic}: accepted again")
            body = np.frombuffer(data, np.uint8, offset=HEAD_BYTES)
            self._take(name, stamp_ns, body, head.frame)

        return receive

    def _take(self, name: str, stamp_ns: int, body: Array, frame: str) -> None:
        seen = self._seen.get(name)
        if seen is None or (stamp_ns > seen.stamp_ns and not _same(body, seen.body)):
            # Joints received by now may be older than the image; those at its first repetition are not.
            before_ns = None if seen is None else seen.stamp_ns
            self._seen[name] = Seen(stamp_ns, before_ns, body, stamp_ns, None, frame)
        elif stamp_ns > seen.stamp_ns:
            seen.stamp_ns, seen.before_ns = stamp_ns, seen.stamp_ns
            joints = self._joints()
            if seen.joints is None:
                seen.joints = joints
            elif joints is not None and bool((np.abs(joints - seen.joints) > MOVED).any()):
                seen.moved = True


def _same(one: Array, other: Array) -> bool:
    """Whether two images are equal; those of a sensor differ almost everywhere, so a few bytes are compared."""
    few = slice(None, None, FEW)
    return np.array_equal(one[few], other[few]) and np.array_equal(one, other)


def require_past(stamp_ns: int, now_ns: int, topic: str) -> None:
    """Raise ValueError for a stamp ahead of the clock: kept, it would hide all later ones."""
    ahead_ns = stamp_ns - now_ns
    if ahead_ns > FUTURE_TOLERANCE_NS:
        raise ValueError(
            f"{topic}: got a stamp {s_from_ns(ahead_ns):.3f} s ahead of the clock, "
            f"expected at most {s_from_ns(FUTURE_TOLERANCE_NS):g} s"
        )
