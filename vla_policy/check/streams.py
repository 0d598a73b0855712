"""Requirements of every input: a publisher, the right type and rate, current stamps."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from vla_policy.check.topic_samples import DiscoveredEndpoint, GraphSnapshot, TopicStats
from vla_policy.embodiment.findings import Finding, error, warning
from vla_policy.parsing.fields import Place
from vla_policy.timing import FUTURE_TOLERANCE_NS

LONG_S = 3600.0  # a larger difference means different kinds of clock
SLOW = 0.9  # of the wanted rate
FROZEN = 3  # messages with one stamp


def check_stream(
    heard: GraphSnapshot, stream: TopicStats, place: Place, *, max_age_s: float, policy_hz: float
) -> Iterator[Finding]:
    """Findings at place, the key that names the topic."""
    if not stream.publishers and not stream.samples:
        yield error(
            place,
            f"no publisher on {stream.topic}",
            others(heard.published, stream.topic, stream.type),
        )
        return
    yield from check_type(place, stream.topic, stream.type, stream.publishers, "publishes")
    yield from check_clash(place, stream.topic, stream.publishers, "publishes")
    if not stream.samples:
        if any(p.type == stream.type and not p.clash for p in stream.publishers):
            yield error(
                place,
                f"{stream.topic}: {_nodes(stream.publishers)} publishes, but nothing was received in {heard.seconds:g} s",
                "See whether the driver runs, and whether this machine's network lets its data through",
            )
        return
    unread = [s.problem for s in stream.samples if s.problem]
    if unread:
        yield error(place, unread[0], "Have the driver send what is expected, or convert it")
    yield from _stamps(stream, place, max_age_s)
    yield from _rate(stream, place, max_age_s, policy_hz, heard.seconds)


def check_type(
    place: Place, topic: str, wanted: str, endpoints: tuple[DiscoveredEndpoint, ...], does: str
) -> Iterator[Finding]:
    """Endpoints of another type, which the middleware silently does not connect."""
    for wrong in sorted({e.type for e in endpoints if e.type != wanted}):
        nodes = _nodes(tuple(e for e in endpoints if e.type == wrong))
        yield error(
            place,
            f"{topic}: {nodes} {does} it as {wrong}, expected {wanted}",
            "Change the type here or there, or the topic",
        )


def others(topics: Mapping[str, tuple[str, ...]], topic: str, kind: str) -> str:
    """Which of topics are of type kind, the nearest name first."""
    same = [t for t, types in topics.items() if kind in types and t != topic]
    near = difflib.get_close_matches(topic, same, n=1, cutoff=0.5)
    if not same:
        return f"No topic of type {kind} is known; see ROS_DOMAIN_ID and namespace"
    listed = ", ".join(sorted(same)[:8])
    return (f"Did you mean {near[0]}? " if near else "") + f"Of that type there are {listed}"


def check_clash(
    place: Place, topic: str, endpoints: tuple[DiscoveredEndpoint, ...], does: str
) -> Iterator[Finding]:
    """Endpoints whose quality of service prevents a connection."""
    for endpoint in endpoints:
        if endpoint.clash:
            yield error(
                place,
                f"{topic}: {endpoint.node} {does} it with a quality of service that does not match: "
                f"{endpoint.clash}",
                "Change that node's quality of service",
            )


def _stamps(stream: TopicStats, place: Place, max_age_s: float) -> Iterator[Finding]:
    stamps, age_s = [s.stamp_ns for s in stream.samples], stream.age_s
    if not all(stamp > 0 for stamp in stamps):
        yield error(
            place,
            f"{stream.topic}: messages have stamp zero",
            "The driver must stamp the time of measurement; without it no message can be told apart from old data",
        )
        return
    if len(stamps) >= FROZEN and stamps[0] == stamps[-1]:
        yield error(
            place,
            f"{stream.topic}: {len(stamps)} messages have the same stamp: the driver repeats one",
            "Restart the driver",
        )
    if age_s is None:
        return
    clocks = "Are both on the same clock (use_sim_time, chrony on both machines)?"
    if age_s > max_age_s:
        far = clocks if age_s > LONG_S else f"{clocks} Else the driver or the network is slow"
        yield error(
            place, f"{stream.topic}: {age_s:.3g} s old on arrival, at most {max_age_s:g} s", far
        )
    elif -age_s * 1e9 > FUTURE_TOLERANCE_NS:
        yield error(place, f"{stream.topic}: stamped {-age_s:.3g} s in the future", clocks)


def _rate(
    stream: TopicStats, place: Place, max_age_s: float, policy_hz: float, seconds: float
) -> Iterator[Finding]:
    rate = stream.rate_hz
    if rate is None:
        rate = len(stream.samples) / seconds
    if rate * max_age_s < 1.0:
        yield error(
            place,
            f"{stream.topic}: {rate:.2g} Hz, but its messages count for {max_age_s:g} s only",
            f"At least {1 / max_age_s:.3g} Hz; raise the driver's rate rather than max_age_s",
        )
    elif rate < SLOW * policy_hz:
        yield warning(
            place,
            f"{stream.topic}: {rate:.3g} Hz, the policy decides at {policy_hz:g} Hz",
            "It would see the same moment several times; raise the driver's rate",
        )


def _nodes(endpoints: tuple[DiscoveredEndpoint, ...]) -> str:
    return ", ".join(sorted({e.node for e in endpoints}))
