"""What `vla record` shows of a recorder: lines for a log, a table for a terminal."""

from __future__ import annotations

from rich.table import Table

from vla_policy.data.recording import GB, Phase
from vla_policy.msg import RecorderStatus

KEYS = {
    Phase.IDLE: "space: begin   d: delete the last episode   q: quit",
    Phase.RECORDING: "space: end   s: keep, success   f: keep, failure   x: discard   q: quit",
    Phase.DECIDING: "space: keep   s: keep, success   f: keep, failure   x: discard   q: quit",
}
WORDS = {Phase.IDLE: "ready", Phase.RECORDING: "recording", Phase.DECIDING: "keep or discard?"}


def headline(status: RecorderStatus) -> str:
    """The phase, the episode, and how far it is."""
    phase = Phase(status.phase)
    word = "waiting" if phase is Phase.IDLE and status.missing else WORDS[phase]
    task = f" {status.task!r}" if status.task else ""
    if phase is Phase.IDLE:
        return f"{word}: episode {status.episode}{task}, {_disk(status)}"
    lost = f", {status.lost} messages lost" if status.lost else ""
    return (
        f"{word}: episode {status.episode}{task}, {status.elapsed:.1f} s, {status.frames} frames"
        f"{lost}, {_disk(status)}"
    )


def lines(status: RecorderStatus) -> tuple[str, ...]:
    """headline, then what is missing, then the verdict."""
    found = [headline(status), *(f"  missing: {sentence}" for sentence in status.missing)]
    if status.phase == Phase.DECIDING:
        found.append(f"  {'keep it' if status.keep else 'discard it'}")
        found += [f"  {sentence}" for sentence in status.verdict]
    return tuple(found)


def table(status: RecorderStatus, said: str) -> Table:
    """For a terminal: every stream, received or missing, and the keys. said: the last reply."""
    shown = Table(title=headline(status), caption=said, expand=True, box=None)
    for name, justify in (
        ("stream", "left"),
        ("Hz", "right"),
        ("lag", "right"),
        ("pauses", "right"),
    ):
        shown.add_column(name, justify=justify)  # type: ignore[arg-type]
    for topic, hz, lag_s, gaps in zip(
        status.streams, status.rates, status.lags, status.gaps, strict=True
    ):
        if hz > 0.0 or gaps or any(topic in sentence for sentence in status.missing):
            late = "" if lag_s < 0.0 else f"{1e3 * lag_s:.0f} ms"
            shown.add_row(
                topic, f"{hz:.1f}", late, str(gaps) if gaps else "", style="red" if gaps else None
            )
    for sentence in lines(status)[1:]:
        shown.add_row(sentence.strip(), style="yellow")
    shown.add_row(KEYS[Phase(status.phase)], style="dim")
    return shown


def _disk(status: RecorderStatus) -> str:
    left = f", {status.disk_left / 60:.0f} min" if status.disk_left >= 0 else ""
    return f"{status.disk_free / GB:.0f} GB free{left}"
