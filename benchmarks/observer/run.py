"""Scenarios by number, in several processes; the same number is always the same run."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from . import adapter, robots
from .account import Account
from .description import Described, read
from .rules import Violation, judge
from .scenario import Scenario
from .world import World

TICKS = 400  # of one scenario
SHARE = 5  # scenarios of one job


@dataclass
class Totals:
    """violations: (robot, rule) -> how often. examples: (scenario, robot, violation)."""

    scenarios: int = 0
    ticks: int = 0
    messages: int = 0
    violations: Counter = field(default_factory=Counter)
    by_robot: Counter = field(default_factory=Counter)
    examples: list[tuple[int, str, Violation]] = field(default_factory=list)

    def add(self, other: Totals) -> None:
        self.scenarios += other.scenarios
        self.ticks += other.ticks
        self.messages += other.messages
        self.violations += other.violations
        self.by_robot += other.by_robot
        self.examples += other.examples


@cache
def known() -> tuple[dict[str, Described], dict[str, str]]:
    """Robots to run by name; and why the product refuses the others, by name."""
    folder = Path(tempfile.gettempdir()) / f"observer_robots_{os.getuid()}_{os.getpid()}"
    folder.mkdir(exist_ok=True)
    run, refused = {}, {}
    for name, file in robots.files(folder).items():
        described = read(file)
        try:
            adapter.robot(file)
        except ValueError as error:
            refused[name] = str(error)
        else:
            run[name] = described
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return run, refused


def one(number: int, seed: int) -> tuple[Described, World, Account, list[Violation]]:
    """Scenario number of seed, played and judged. The robot follows from the number alone."""
    names = robots.names()
    name = names[number % len(names)]
    described = known()[0][name]
    with np.errstate(all="ignore"):
        world, account = Scenario(described, (seed, number), TICKS).run()
        return described, world, account, judge(described, world, account)


def share(job: tuple[int, tuple[int, ...]]) -> Totals:
    """The scenarios of one job."""
    seed, numbers = job
    totals = Totals()
    for number in numbers:
        names = robots.names()
        name = names[number % len(names)]
        if name not in known()[0]:
            continue
        _robot, world, account, found = one(number, seed)
        totals.scenarios += 1
        totals.ticks += account.ticks
        totals.by_robot[name] += account.ticks
        totals.messages += sum(len(sent) for sent in world.sent.values())
        for violation in found:
            totals.violations[name, violation.rule] += 1
            totals.examples.append((number, name, violation))
    return totals


def everything(ticks: int, seed: int, processes: int) -> Totals:
    """Scenarios from 0 on until there are enough ticks, with progress on stderr."""
    totals, started = Totals(), time.monotonic()
    for name in robots.MUST_REFUSE:
        if name in known()[0]:
            totals.violations[name, "unenforced"] += 1
            words = "takes keep-out boxes that nothing can keep its joints out of"
            totals.examples.append((-1, name, Violation("unenforced", "", 0, 1.0, 0.0, words)))
    if processes == 1:
        results: Iterator[Totals] = (share(job) for job in _jobs(seed, ticks))
        return _collected(results, totals, ticks, started)
    with ProcessPoolExecutor(processes, initializer=_alone) as pool:
        return _collected(pool.map(share, _jobs(seed, ticks)), totals, ticks, started)


def _jobs(seed: int, ticks: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Enough jobs; the refused robots' numbers are skipped, so a few more than ticks / TICKS."""
    names = robots.names()
    runnable = sum(name in known()[0] for name in names) / len(names)
    scenarios = int(np.ceil(ticks / TICKS / runnable))
    for start in range(0, scenarios, SHARE):
        yield seed, tuple(range(start, min(start + SHARE, scenarios)))


def _collected(results, totals: Totals, ticks: int, started: float) -> Totals:
    for done, result in enumerate(results, 1):
        totals.add(result)
        if done % 20 == 0:
            took = time.monotonic() - started
            print(f"{totals.ticks} of about {ticks} ticks, {sum(totals.violations.values())} violations, "
                  f"{totals.ticks / took:.0f} ticks/s", file=sys.stderr, flush=True)  # fmt: skip
    return totals


def _alone() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
