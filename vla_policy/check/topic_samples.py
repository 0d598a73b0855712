"""What a running graph published within some seconds, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DiscoveredEndpoint:
    """A publisher or subscription. node: its full name. type: 'package/msg/Name'.

    clash: why its quality of service and ours do not match; empty if they do.
    """

    node: str
    type: str
    clash: str = ""


@dataclass(frozen=True, slots=True)
class TopicSample:
    """One message. arrival_ns: by the clock in use. stamp_ns: of its header.

    problem: why it cannot be used. values: joint -> position as published, or axis -> m of a pose.
    size: height and width of an image in pixels. pixels: a digest of them. plain: single-coloured.
    """

    arrival_ns: int
    stamp_ns: int
    frame: str = ""
    problem: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    pixels: bytes = b""
    plain: bool = False


@dataclass(frozen=True, slots=True)
class TopicStats:
    """A topic of the robot. type: the expected one."""

    topic: str
    type: str
    publishers: tuple[DiscoveredEndpoint, ...]
    samples: tuple[TopicSample, ...]

    @property
    def rate_hz(self) -> float | None:
        """By the stamps, else by arrival; None for fewer than two messages."""
        for times in ([s.stamp_ns for s in self.samples], [s.arrival_ns for s in self.samples]):
            if len(times) > 1 and times[-1] > times[0]:
                return (len(times) - 1) * 1e9 / (times[-1] - times[0])
        return None

    @property
    def age_s(self) -> float | None:
        """The median at arrival; None if no message is stamped."""
        ages = sorted(s.arrival_ns - s.stamp_ns for s in self.samples if s.stamp_ns > 0)
        return ages[len(ages) // 2] * 1e-9 if ages else None


@dataclass(frozen=True, slots=True)
class CommandSink:
    """Destination of a group's commands. type: the published one. publishers: other than our node.

    readers: subscribers other than our control node. service: of an action or of MoveIt Servo, the
    required service; served: its type, None if unavailable.
    """

    group: str
    topic: str
    type: str
    publishers: tuple[DiscoveredEndpoint, ...]
    readers: tuple[DiscoveredEndpoint, ...]
    service: str = ""
    served: str | None = None


@dataclass(frozen=True, slots=True)
class GraphSnapshot:
    """seconds: duration. published, read: topics that others publish or subscribe to -> types.

    poses: by tool; for tf2, problems in tf. policies: nodes that publish action chunks.
    """

    seconds: float
    published: Mapping[str, tuple[str, ...]]
    read: Mapping[str, tuple[str, ...]]
    joints: Mapping[str, TopicStats]
    poses: Mapping[str, TopicStats]
    tf: Mapping[str, str]
    cameras: Mapping[str, TopicStats]
    drains: tuple[CommandSink, ...]
    policies: tuple[str, ...]
