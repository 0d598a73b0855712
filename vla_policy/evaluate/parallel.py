"""Trials of a suite beside each other, in worker processes."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any, TypeAlias

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vla_policy.evaluate.twin_trials import TwinTrials

COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())


# Calls a function of a module with the arguments of each job, in other processes: as the jobs finish, the number of each
# and what gives its result, or raises its error.
AsDone: TypeAlias = Callable[
    [Callable[..., Any], Sequence[tuple[Any, ...]]],
    Generator[tuple[int, Callable[[], Any]], None, None],
]
Job: TypeAlias = tuple[dict[str, Any], str, int]  # settings, suite, index
Done: TypeAlias = tuple[str, dict[str, Any], str | None]  # suite, outcome, head


def run_trials(
    settings: dict[str, Any],
    names: list[str],
    args: argparse.Namespace,
    as_done: AsDone | None = None,
) -> tuple[dict[str, list[dict[str, Any]]], str | None]:
    """Outcomes by suite, and the head that made them. as_done: None: a pool of args.workers processes."""
    jobs = [(settings, name, index) for name in names for index in range(args.episodes)]
    outcomes: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    head = None
    with (
        Progress(*COLUMNS, TimeRemainingColumn()) as progress,
        closing(_tried(jobs, args.workers, as_done)) as tried,
    ):
        bar = progress.add_task("trials", total=len(jobs))
        for name, outcome, used in tried:
            head = used
            outcomes[name].append(outcome)
            done = [r for rs in outcomes.values() for r in rs]
            won = sum(r["success"] for r in done)
            progress.update(bar, advance=1, description=f"{name} {won}/{len(done)}")
    return outcomes, head


def _tried(
    jobs: Sequence[Job], workers: int, as_done: AsDone | None
) -> Generator[Done, None, None]:
    """The trials, as they finish."""
    if as_done is None:
        context = multiprocessing.get_context("spawn")
        with context.Pool(min(workers, len(jobs)), one_thread) as pool:
            yield from pool.imap_unordered(_trial, jobs)
        return
    with closing(as_done(_trial, [(job,) for job in jobs])) as done:
        for _, take in done:
            yield take()


def one_thread() -> None:
    """At the start of a worker: software rendering takes no core from the others."""
    os.environ["LP_NUM_THREADS"] = "1"


# Made at a process's first trial, not at its start: a pool restarts failing processes for ever.
# With the settings that it was made for: a process of Ray's may get trials of others later.
_worker: list[tuple[dict[str, Any], TwinTrials]] = []


def _trial(job: Job) -> Done:
    settings, name, index = job
    if not _worker or _worker[0][0] != settings:
        _worker[:] = [(settings, TwinTrials(settings))]
    trials = _worker[0][1]
    return name, trials.run(name, index).to_dict(), trials.policy.head
