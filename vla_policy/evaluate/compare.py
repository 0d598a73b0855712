"""Policies x robots x suites: runs a comparison's missing trials, in processes or a graph."""

from __future__ import annotations

import hashlib
import multiprocessing
import re
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from vla_policy.evaluate import compare_worker as worker
from vla_policy.evaluate.comparison_folder import Cell, ComparisonFolder
from vla_policy.evaluate.parallel import AsDone
from vla_policy.evaluate.suite_sources import unfit

HEADS = ("flow", "token")
Settings = Mapping[str, Any]
OnTrial = Callable[[Cell, Mapping[str, Any]], None]


class Graph(Protocol):
    """A running graph of one policy on one robot, for trials."""

    def run(self, suite: str, index: int, film: Path | None) -> dict[str, Any]:
        """The row of a trial's results."""


OpenGraph = Callable[[Settings, Path], AbstractContextManager[Graph]]


def split_head(name: str) -> tuple[str, str | None]:
    """POLICY@HEAD as the policy's name and the head; without one, the policy's first.

    >>> split_head("tiny@token"), split_head("ws://me@gpu:8000")
    (('tiny', 'token'), ('ws://me@gpu:8000', None))
    """
    base, _, head = name.rpartition("@")
    return (base, head) if base and head in HEADS else (name, None)


def settings_of(folder: ComparisonFolder, policy: str, robot: str) -> dict[str, Any]:
    """The settings of a trial of a policy on a robot."""
    base, head = split_head(policy)
    return {**folder.plan.options, "policy": base, "head": head, "robot": robot}


def pairs_that_lack(folder: ComparisonFolder) -> list[tuple[str, str]]:
    """Policies and robots with missing trials, in the order of the plan."""
    pairs = [
        (policy, robot)
        for policy, robot, suite in folder.plan.cells()
        if folder.lacks((policy, robot, suite)) and not reason_of(folder, (policy, robot, suite))
    ]
    return list(dict.fromkeys(pairs))


def reason_of(folder: ComparisonFolder, cell: Cell) -> str:
    """Why a cell has no trials, as text; empty if it has, or if unknown so far."""
    policy, robot, suite = cell
    facts = folder.facts.get(policy, {}).get(robot, {})
    return unfit(suite, robot) or str(facts.get("unfit", {}).get(suite, ""))


def look_at_policies(
    folder: ComparisonFolder,
    tell: Callable[[str], None],
    *,
    workers: int,
    as_done: AsDone | None = None,
) -> None:
    """Load each policy with missing trials once, for each robot, and store its facts.

    Raises ValueError for a policy that fits no suite, for changed weights, and the error of
    loading if a server does not answer.
    """
    pairs = {f"{policy} on {robot}": (policy, robot) for policy, robot in pairs_that_lack(folder)}
    jobs = {
        what: (
            settings_of(folder, *pair),
            [s for s in folder.plan.suites if not unfit(s, pair[1])],
        )
        for what, pair in pairs.items()
    }
    with closing(_done(worker.look_at, jobs, min(workers, 1), as_done)) as answers:
        for what, facts in answers:
            tell(what)
            folder.record_facts(*pairs[what], facts)
    for policy in folder.plan.policies:
        cells = [(policy, r, s) for r in folder.plan.robots for s in folder.plan.suites]
        reasons = [f"{cell[2]} on {cell[1]}: {reason_of(folder, cell)}" for cell in cells]
        if all(reason_of(folder, cell) for cell in cells):
            raise ValueError(
                f"--policy: got {policy!r}, which can be asked nothing of this: {'; '.join(reasons)}"
            )


def try_in_processes(
    folder: ComparisonFolder,
    policy: str,
    robot: str,
    *,
    workers: int,
    films: bool,
    on_trial: OnTrial,
    as_done: AsDone | None = None,
) -> None:
    """The missing trials of a policy on a robot, in separate processes, for peaks of memory.

    workers: number of processes; 0: in this one. as_done: other processes than those. Raises
    ValueError with the trial that failed, OSError if a process ended; finished trials are kept.
    """
    settings = settings_of(folder, policy, robot)
    trials = {
        f"{' '.join(cell)}, trial {i}": (cell, i) for cell, i in _jobs(folder, policy, robot)
    }
    jobs = {
        what: (settings, cell[2], i, _film(folder, cell, i, films))
        for what, (cell, i) in trials.items()
    }
    with closing(_done(worker.try_one, jobs, min(workers, len(jobs)), as_done)) as answers:
        for what, row in answers:
            _keep(folder, *trials[what], row, on_trial)


def try_in_graph(
    folder: ComparisonFolder,
    policy: str,
    robot: str,
    *,
    open_graph: OpenGraph,
    films: bool,
    on_trial: OnTrial,
) -> None:
    """The same through a graph of nodes, one trial after the other."""
    with open_graph(settings_of(folder, policy, robot), folder.out / "nodes.log") as graph:
        for cell, index in _jobs(folder, policy, robot):
            started = time.monotonic()
            ask = partial(graph.run, cell[2], index, _film(folder, cell, index, films))
            row = _answer(ask, f"{' '.join(cell)}, trial {index}")
            row["wall_s"] = round(time.monotonic() - started, 2)
            _keep(folder, cell, index, row, on_trial)


def _jobs(folder: ComparisonFolder, policy: str, robot: str) -> Iterator[tuple[Cell, int]]:
    for suite in folder.plan.suites:
        cell = (policy, robot, suite)
        if not reason_of(folder, cell):
            yield from ((cell, index) for index in folder.lacks(cell))


def _keep(
    folder: ComparisonFolder, cell: Cell, index: int, row: Mapping[str, Any], on_trial: OnTrial
) -> None:
    policy, robot, suite = cell
    whole = {"policy": policy, "robot": robot, "suite": suite, "index": index, **row}
    folder.add(whole)
    on_trial(cell, whole)


def _film(folder: ComparisonFolder, cell: Cell, index: int, films: bool) -> Path | None:
    if not films:
        return None
    policy, robot, suite = cell
    plain = re.sub(r"[^A-Za-z0-9_@.-]+", "_", policy)[-40:]
    if plain != policy:  # a path or an address, of which two may have the same plain name
        plain += "_" + hashlib.sha256(policy.encode()).hexdigest()[:8]
    return folder.films / f"{plain}_{robot}_{suite}_{index:04d}.webm"


def _done(
    work: Callable[..., dict[str, Any]],
    jobs: Mapping[str, tuple[Any, ...]],
    workers: int,
    as_done: AsDone | None,
) -> Generator[tuple[str, dict[str, Any]], None, None]:
    """Results of the jobs, as they finish.

    Raises ValueError and OSError that begin with the job's name.
    """
    if as_done is not None:
        names = list(jobs)
        with closing(as_done(work, list(jobs.values()))) as done:
            for number, take in done:
                yield names[number], _answer(take, names[number])
        return
    if workers == 0:
        for what, job in jobs.items():
            yield what, _answer(partial(work, *job), what)
        return
    if not jobs:
        return
    with _workers(workers) as pool:
        with _without_interrupts():  # the new processes do not receive them either
            asked = {pool.submit(work, *job): what for what, job in jobs.items()}
        for future in as_completed(asked):
            yield asked[future], _answer(future.result, asked[future])


def _answer(ask: Callable[[], dict[str, Any]], what: str) -> dict[str, Any]:
    try:
        return ask()
    except (BrokenProcessPool, ChildProcessError) as error:
        raise OSError(
            f"{what}: its process ended, perhaps for want of memory; fewer --workers need less. What is done is kept"
        ) from error
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


@contextmanager
def _workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with this block, at once if it is left by an interrupt or an error."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=worker.begin)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C goes to all processes of a terminal: those started in this block ignore it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
