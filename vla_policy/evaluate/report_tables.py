"""The tables of a comparison, as texts by heading: for the terminal, for Markdown, and for the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vla_policy.sim.twin import EXPERT

Record = Mapping[str, Any]
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """headings and, row by row, as many texts."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def results_table(found: Record) -> Table:
    """One line for each policy, robot and suite."""
    return _table(RESULTS, found["results"])


def differences_table(found: Record) -> Table:
    """One line for each two policies on the same trials."""
    return _table(DIFFERENCES, found["differences"])


def policies_table(found: Record) -> Table:
    """One line for each policy."""
    return _table(POLICIES, found["policies"])


def not_asked(found: Record) -> list[str]:
    """What was not tried, and why, one line for each robot and reason."""
    who: dict[tuple[str, str], list[str]] = {}
    for one in found["not_asked"]:
        who.setdefault((one["robot"], one["reason"]), []).append(
            f"{one['policy']} on {one['suite']}"
        )
    return [f"{robot}: {', '.join(names)}: {reason}" for (robot, reason), names in who.items()]


def markdown(table: Table) -> str:
    """A Markdown table with a line end; empty for one without rows."""
    if not table.rows:
        return ""
    lines = [table.headings, ("---",) * len(table.headings), *table.rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', '¦') for cell in line)} |\n" for line in lines
    )


def percent(value: float) -> str:
    """A share as a text."""
    return f"{value:.1%}"


def _success(r: Record) -> str:
    return f"{r['successes']}/{r['trials']} = {r['rate']:.0%}"


def _interval(r: Record) -> str:
    low, high = r["interval"]
    return f"{percent(low)} to {percent(high)}"


def _failures(r: Record) -> str:
    return ", ".join(f"{n} {why}" for why, n in r["failures"].items()) or NOTHING


def _guarded(r: Record) -> str:
    if r["guarded"] is None:
        return NOTHING
    most = next(iter(r["guard"]), "")
    return f"{r['guarded']:.0%}, {percent(r['held'])}" + (f" ({most})" if most else "")


def _chunk(r: Record, key: str) -> str:
    return NOTHING if r[key] is None else "{:.0f}, {:.0f} ms".format(*r[key])


def _memory(r: Record) -> str:
    gpu = "" if r["gpu_mb"] is None else f" + {r['gpu_mb']:.0f} MB GPU"
    return _plain(r["memory_mb"], "{:.0f} MB") + gpu


def _paired(r: Record) -> str:
    return f"{r['both']}, {r['first_only']}, {r['second_only']}, {r['neither']}"


def _difference(r: Record) -> str:
    low, high = r["interval"]
    return f"{r['difference']:+.0%} ({low:+.0%} to {high:+.0%})"


def _slower(r: Record) -> str:
    if r["seconds"] is None:
        return NOTHING
    return "{:+.2f} s ({:+.2f} to {:+.2f})".format(r["seconds"]["mean"], *r["seconds"]["interval"])


def _trained(r: Record) -> str:
    training = r.get("training")
    if training is None:
        return NOTHING if r["policy"] == EXPERT else "it does not say"
    words = f"{training['steps']} steps in {training['seconds'] / 60:.0f} min"
    return f"{words}, {training['on']}" if "on" in training else words


def _plain(value: Any, form: str) -> str:
    return NOTHING if value is None else form.format(value)


Column = tuple[str, Callable[[Record], str]]
RESULTS: tuple[Column, ...] = (
    ("policy", lambda r: str(r["policy"])),
    ("robot", lambda r: str(r["robot"])),
    ("suite", lambda r: str(r["suite"])),
    ("success", _success),
    ("95 % interval", _interval),
    ("time of a success", lambda r: _plain(r["median_seconds"], "{:.1f} s")),
    ("jerk", lambda r: _plain(r["jerk_rms"], "{:.1f} m/s³")),
    ("seams", lambda r: _plain(r["seams"], "× {:.2f}")),
    ("guard acted, held", _guarded),
    ("chunk p50, p99", lambda r: _chunk(r, "chunk_ms")),
    ("of it on a CPU", lambda r: _chunk(r, "chunk_cpu_ms")),
    ("memory", _memory),
    ("failures", _failures),
)
DIFFERENCES: tuple[Column, ...] = (
    ("robot", lambda r: str(r["robot"])),
    ("suite", lambda r: str(r["suite"])),
    ("first", lambda r: str(r["first"])),
    ("second", lambda r: str(r["second"])),
    ("both, first, second, neither", _paired),
    ("difference, 95 %", _difference),
    ("p", lambda r: f"{r['p']:.3f}"),
    ("slower, where both succeed", _slower),
)
POLICIES: tuple[Column, ...] = (
    ("policy", lambda r: str(r["policy"])),
    ("head", lambda r: _plain(r.get("head"), "{}")),
    ("rows of a chunk", lambda r: _plain(r.get("rows"), "{}")),
    ("parameters", lambda r: _plain(r.get("parameters"), "{:,}")),
    ("checkpoint", lambda r: _plain(r.get("checkpoint_mb"), "{:.1f} MB")),
    ("trained", _trained),
)


def _table(columns: Sequence[Column], records: Sequence[Record]) -> Table:
    return Table(
        tuple(heading for heading, _ in columns),
        tuple(tuple(text(record) for _, text in columns) for record in records),
    )
