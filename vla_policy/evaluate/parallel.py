"""Trials of a suite in worker processes."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vla_policy.evaluate.twin_trials import TwinTrials

COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())


def run_trials(
    settings: dict[str, Any], names: list[str], args: argparse.Namespace
) -> tuple[dict[str, list[dict[str, Any]]], str | None]:
    """Outcomes by suite, and the head that made them."""
    jobs = [(settings, name, index) for name in names for index in range(args.episodes)]
    context = multiprocessing.get_context("spawn")
    outcomes: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    head = None
    with (
        Progress(*COLUMNS, TimeRemainingColumn()) as progress,
        context.Pool(min(args.workers, len(jobs)), one_thread) as pool,
    ):
        bar = progress.add_task("trials", total=len(jobs))
        for name, outcome, used in pool.imap_unordered(_trial, jobs):
            head = used
            outcomes[name].append(outcome)
            done = [r for rs in outcomes.values() for r in rs]
            won = sum(r["success"] for r in done)
            progress.update(bar, advance=1, description=f"{name} {won}/{len(done)}")
    return outcomes, head


def one_thread() -> None:
    """At the start of a worker: software rendering takes no core from the others."""
    os.environ["LP_NUM_THREADS"] = "1"


# Made at a process's first trial, not at its start: a pool restarts failing processes for ever.
_worker: list[TwinTrials] = []


def _trial(job: tuple[dict[str, Any], str, int]) -> tuple[str, dict[str, Any], str | None]:
    settings, name, index = job
    if not _worker:
        _worker.append(TwinTrials(settings))
    return name, _worker[0].run(name, index).to_dict(), _worker[0].policy.head
