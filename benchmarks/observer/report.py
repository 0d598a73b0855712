"""What a run found, as JSON and as lines."""

from __future__ import annotations

import datetime
import math
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .run import Totals, known, one

RULES = {
    "silence": "while stopped, disengaged, inactive or commanded by others no position goes out and no velocity grows",
    "dead": "an inactive node sends nothing",
    "rest": "where nothing may be followed (no engagement, no fresh input, no valid plan) all comes to rest and stays",
    "first": "the first command after engaging or a hand is within one period of where the arm is",
    "speed": "no joint, tool, hand or base is faster than its limit, nor than the fade after engaging allows",
    "acceleration": "nothing speeds up faster than its limit within a command period; braking is free",
    "reversal": "nothing runs back along the one line that every plan follows",
    "range": "no joint is told to leave, or played beyond, its range",
    "workspace": "no tool leaves its workspace",
    "keep_out": "no tool enters a keep-out box",
    "unenforced": "a robot file with boxes that nothing can enforce is refused",
    "pulls": "no command goes on while a hand keeps the arm away",
    "refused": "no controller refuses a message by its published rules",
    "finite": "no message has a value that is not finite",
    "raised": "no code of the control path raises",
}


def report(totals: Totals, seed: int, seconds: float) -> dict[str, Any]:
    per_rule = dict.fromkeys(RULES, 0)
    per_robot: dict[str, dict[str, int]] = {}
    for (robot, rule), count in sorted(totals.violations.items()):
        per_rule[rule] += count
        per_robot.setdefault(robot, {})[rule] = count
    examples: dict[str, list[dict[str, Any]]] = {}
    for number, robot, violation in totals.examples:
        kept = examples.setdefault(violation.rule, [])
        if len(kept) < 6:
            kept.append({
                "scenario": number, "robot": robot, "group": violation.group,
                "at_s": round(violation.time_ns / 1e9, 3), "amount": _short(violation.amount),
                "limit": _short(violation.limit), "words": violation.words,
            })  # fmt: skip
    return {
        **about(seed, seconds),
        "scenarios": totals.scenarios,
        "ticks": totals.ticks,
        "messages": totals.messages,
        "violations": sum(totals.violations.values()),
        "rules": RULES,
        "per_rule": per_rule,
        "per_robot": per_robot,
        "ticks_per_robot": dict(sorted(totals.by_robot.items())),
        "refused_robots": {k: v.splitlines()[0] for k, v in known()[1].items()},
        "examples": examples,
    }


def about(seed: int, seconds: float) -> dict[str, Any]:
    """How a result came to be."""
    return {
        "command": " ".join(["python", *sys.argv]),
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "seed": seed,
        "seconds": round(seconds, 1),
    }


def account_of(number: int, seed: int) -> list[str]:
    """One scenario in lines: what happened, what was sent, what is wrong with it."""
    robot, world, account, found = one(number, seed)
    events = [(ns, words) for ns, words in account.notes]
    events += [(v.time_ns, f"!! {_words(v)}") for v in found]
    for group in robot.groups:
        events += [(s.time_ns, _line(group.name, s)) for s in world.sent[group.name]]
    lines = [f"scenario {number}: {robot.name}, {account.ticks} ticks"]
    lines += [f"{ns / 1e9:9.4f} {words}" for ns, words in sorted(events)]
    return [*lines, *(f"{v.time_ns / 1e9:9.4f} {_words(v)}" for v in found)]


def picture(number: int, seed: int, path: Path) -> None:
    """What was played in one scenario, each group below the other. Needs matplotlib."""
    from matplotlib import pyplot

    robot, world, account, found = one(number, seed)
    groups = robot.groups
    figure, axes = pyplot.subplots(len(groups), 2, figsize=(14, 3 * len(groups)), squeeze=False)
    times = np.arange(0, account.end_ns, 2_000_000, dtype=np.int64)
    for (left, right), group in zip(axes, groups, strict=True):
        positions, velocities, _ = world.channels[group.name].played(times)
        left.plot(times / 1e9, positions, lw=0.8)
        right.plot(times / 1e9, velocities, lw=0.8)
        left.set_title(f"{group.name}: positions", fontsize=8)
        right.set_title(f"{group.name}: velocities", fontsize=8)
        for axis in (left, right):
            for start, end in account.silent:
                axis.axvspan(start / 1e9, end / 1e9, color="0.9")
            for violation in found:
                if violation.group == group.name:
                    axis.axvline(violation.time_ns / 1e9, color="red", lw=0.8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def _line(name: str, sent) -> str:
    values = np.array2string(sent.values, precision=4, suppress_small=True, max_line_width=200)
    here = np.array2string(sent.here, precision=4, suppress_small=True, max_line_width=200)
    more = (" ignored" if sent.ignored else "") + (
        f" refused: {sent.refused}" if sent.refused else ""
    )
    return f"   {name} <- {values} at {here}{more}"


def _words(violation) -> str:
    return (
        f"{violation.rule} {violation.group}: {violation.words} "
        f"({violation.amount:.4g}, limit {violation.limit:.4g})"
    )


def _short(value: float) -> float | str:
    return float(f"{value:.4g}") if math.isfinite(value) else str(value)


def _commit() -> str:
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True
    )
    return found.stdout.strip() or "unknown"
