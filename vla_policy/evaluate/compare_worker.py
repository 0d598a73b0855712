"""What a worker process of a comparison does: look at a policy, try one trial."""

from __future__ import annotations

import ctypes
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_policy.evaluate.measures import Measures, gpu_memory_mb, peak_memory_mb
from vla_policy.evaluate.parallel import one_thread
from vla_policy.evaluate.policy_facts import policy_facts
from vla_policy.evaluate.suite_sources import Runner, source_of
from vla_policy.evaluate.video import write_webm

PR_SET_PDEATHSIG = 1
FILM_HZ = 8.0  # twice as fast as it happened

Settings = Mapping[str, Any]


def begin() -> None:
    """At the start of a process."""
    one_thread()
    if sys.platform == "linux":  # it ends with the one that started it, however that ends
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def look_at(settings: Settings, suites: Sequence[str]) -> dict[str, Any]:
    """Facts of a policy on a robot; unfit: suite -> why it cannot be asked that, in words."""
    reasons: dict[str, str] = {}
    facts: dict[str, Any] = {}
    runners: dict[Callable[[Settings], Runner], Runner | str] = {}
    for suite in suites:
        opens = source_of(suite).open
        if opens not in runners:
            try:
                runners[opens] = opens(settings)
            except (ValueError, FileNotFoundError) as error:
                runners[opens] = str(error)
        runner = runners[opens]
        if isinstance(runner, str):
            reasons[suite] = runner
            continue
        facts = facts or policy_facts(settings["policy"], runner.policy)
        if reason := runner.unfit(suite):
            reasons[suite] = reason
    return {**facts, "unfit": reasons}


@dataclass(slots=True)
class _Running:
    """What a process has loaded for its trials. made: how many it has made."""

    runner: Runner
    made: int = 0


# Of this process, by what opened it and for whom; one policy on one robot at a time.
_running: dict[tuple[Any, ...], _Running] = {}


def try_one(settings: Settings, suite: str, index: int, film: Path | None) -> dict[str, Any]:
    """A row of what happened in a trial. film: where one of a failure goes; None: none is made."""
    running = _runner(settings, suite)
    measures = Measures(films=film is not None, warm_up=0 if running.made else 1)
    running.made += 1
    started = time.monotonic()
    result = running.runner.run(suite, index, measures).to_dict()
    del result["interventions"]  # with what merely waits; guard has it without
    row = {**result, **measures.to_dict(), "film": ""}
    row |= {"wall_s": round(time.monotonic() - started, 2), "memory_mb": peak_memory_mb()}
    row["gpu_mb"] = gpu_memory_mb()
    if film is not None and measures.frames and not result["success"]:
        write_webm(film, measures.frames, hz=FILM_HZ)
        row["film"] = film.name
    return row


def _runner(settings: Settings, suite: str) -> _Running:
    opens = source_of(suite).open
    who = (settings["policy"], settings["head"], settings["robot"])
    if any(key[1:] != who for key in _running):
        _running.clear()
    key = (opens, *who)
    if key not in _running:
        _running[key] = _Running(opens(settings))
    return _running[key]
