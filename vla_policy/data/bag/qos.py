"""A topic's quality of service in a bag, in rosbag2's newest format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from vla_policy.timing import NS_PER_S

FOR_EVER_NS = (1 << 63) - 1  # rmw's value for an infinite time
HISTORIES = ("system_default", "keep_last", "keep_all", "unknown")
RELIABILITIES = ("system_default", "reliable", "best_effort", "unknown", "best_available")
DURABILITIES = ("system_default", "transient_local", "volatile", "unknown", "best_available")
LIVELINESSES = (
    "system_default", "automatic", "manual_by_node", "manual_by_topic", "unknown", "best_available",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Qos:
    """One publisher's profile, with the values of rmw. Times: ns, FOR_EVER_NS for infinite.

    Raises ValueError for a value unknown to rmw.
    """

    reliability: str = "reliable"
    durability: str = "volatile"
    history: str = "keep_last"
    depth: int = 10
    deadline_ns: int = FOR_EVER_NS
    lifespan_ns: int = FOR_EVER_NS
    liveliness: str = "automatic"
    lease_ns: int = FOR_EVER_NS

    def __post_init__(self) -> None:
        for name, words in (
            ("reliability", RELIABILITIES),
            ("durability", DURABILITIES),
            ("history", HISTORIES),
            ("liveliness", LIVELINESSES),
        ):
            if getattr(self, name) not in words:
                raise ValueError(
                    f"Qos.{name}: got {getattr(self, name)!r}, expected one of {', '.join(words)}"
                )


def as_fields(qos: Qos) -> dict[str, object]:
    """The profile in the form of metadata.yaml."""
    return {
        "history": qos.history,
        "depth": qos.depth,
        "reliability": qos.reliability,
        "durability": qos.durability,
        "deadline": _time(qos.deadline_ns),
        "lifespan": _time(qos.lifespan_ns),
        "liveliness": qos.liveliness,
        "liveliness_lease_duration": _time(qos.lease_ns),
        "avoid_ros_namespace_conventions": False,
    }


def as_text(profiles: Sequence[Qos]) -> str:
    """The profiles in the form of an MCAP channel."""
    fields = [as_fields(qos) for qos in profiles]
    return str(yaml.safe_dump(fields, sort_keys=False)).rstrip() if fields else ""


def _time(time_ns: int) -> dict[str, int]:
    sec, nsec = divmod(time_ns, NS_PER_S)
    return {"sec": sec, "nsec": nsec}
