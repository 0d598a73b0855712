"""Findings and received topics, as text for the user."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vla_policy.check.topic_samples import DiscoveredEndpoint, GraphSnapshot, TopicStats
from vla_policy.embodiment.findings import ERROR, Finding, count, errors

STYLE = {ERROR: "bold red", "warning": "yellow"}


def format_findings(findings: Iterable[Finding], what: str) -> str:
    """One paragraph per finding, then their number."""
    found = tuple(findings)
    lines = []
    for finding in found:
        lines.append(f"{finding.level:<8} {finding.told}")
        lines.append(f"{'':<8} {finding.change}")
    wrong = len(errors(found))
    lines.append(
        f"{what}: {count(wrong, 'error')}, {count(len(found) - wrong, 'warning')}"
        if found
        else f"{what}: nothing wrong found"
    )
    return "\n".join(lines)


def print_topics(heard: GraphSnapshot, findings: Iterable[Finding], console: Console) -> None:
    """One table of the robot's topics."""
    table = Table(title=f"Received in {heard.seconds:g} s")
    for column in ("", "topic", "by", "Hz", "age s", "verdict"):
        table.add_column(column, overflow="fold")
    found = tuple(findings)
    rows = [("joints", "joints", s) for s in heard.joints.values()]
    rows += [(f"pose {tool}", "ee_pose", s) for tool, s in heard.poses.items()]
    rows += [(f"camera {name}", f"cameras.{name}", s) for name, s in heard.cameras.items()]
    for what, key, stream in rows:
        verdict = _verdict(found, key)
        table.add_row(what, stream.topic, _nodes(stream.publishers), *_numbers(stream), verdict)
    for drain in heard.drains:
        who = drain.served or _nodes(drain.readers)
        verdict = _verdict(found, f"outputs.{drain.group}")
        table.add_row(f"to {drain.group}", drain.topic, who, "", "", verdict)
    console.print(table)


def _verdict(findings: tuple[Finding, ...], key: str) -> Text:
    """'ok', or the level of the most severe finding about a key."""
    for finding in findings:
        if finding.key == key or finding.key.startswith(f"{key}."):
            return Text(finding.level, style=STYLE[finding.level])
    return Text("ok", style="green")


def _numbers(stream: TopicStats) -> tuple[str, str]:
    rate, age_s = stream.rate_hz, stream.age_s
    return ("" if rate is None else f"{rate:.1f}", "" if age_s is None else f"{age_s:.3f}")


def _nodes(endpoints: Iterable[DiscoveredEndpoint]) -> str:
    return ", ".join(sorted({e.node for e in endpoints})) or "nobody"
