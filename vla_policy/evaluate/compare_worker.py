"""Work of a comparison's worker process: facts of a policy, and trials."""

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
FILM_HZ = 8.0  # twice real time

Settings = Mapping[str, Any]


def begin() -> None:
    """At the start of a process."""
    one_thread()
    if sys.platform == "linux":  # it ends with the one that started it, however that ends
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def look_at(settings: Settings, suites: Sequence[str]) -> dict[str, Any]:
    """Facts of a policy on a robot; unfit: suite -> why it does not fit, as text."""
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
    """Objects that a process has loaded for its trials. made: number of trials."""

    runner: Runner
    made: int = 0


# Of this process, by opener and settings; one policy on one robot at a time.
_running: dict[tuple[Any, ...], _Running] = {}


def try_one(settings: Settings, suite: str, index: int, film: Path | None) -> dict[str, Any]:
    """The row of a trial's results. film: file for the film of a failure; None: no film."""
    running = _runner(settings, suite)
    measures = Measures(films=film is not None, warm_up=0 if running.made else 1)
    running.made += 1
    started = time.monotonic()
    result = running.runner.run(suite, index, measures).to_dict()
    del result["interventions"]  # includes mere waiting; guard does not
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
