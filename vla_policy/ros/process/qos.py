"""The quality of service of every endpoint, one name per purpose."""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSProfile,
    ReliabilityPolicy,
)


def _profile(
    reliability: ReliabilityPolicy, durability: DurabilityPolicy, depth: int
) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=durability,
    )


# Cameras and robot state: only the newest counts. Also matches reliable publishers.
SENSOR = _profile(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, 1)

# Joint states of several publishers on one topic: none may push out another's.
STATES = _profile(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, 5)

# Setpoints and chunks: must arrive, and a newer one replaces an older one.
COMMAND = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 1)

# Instructions: a stop word must not be pushed out by the next sentence.
WORDS = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 20)

# One report per tick: a recorder must miss none.
TICKS = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 10)

# Status: a late subscriber gets the last one.
LATCHED = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, 1)

# Outcomes of instructions: a late subscriber gets the last ones.
OUTCOMES = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, 10)

# The active instruction: latched too, but it ends with the process that gave it.
ACTIVE = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, 1)
ACTIVE.liveliness = LivelinessPolicy.AUTOMATIC
ACTIVE.liveliness_lease_duration = Duration(seconds=3)

# Several nodes publish on /diagnostics; none may push out another's report.
DIAGNOSTICS = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 10)
