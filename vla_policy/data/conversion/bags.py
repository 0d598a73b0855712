"""Bags to a data set: each bag in its own process, their episodes in the order of the bags."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vla_policy.data.bag.reader import is_bag, open_bag
from vla_policy.data.conversion.bag_takes import BagJob, Made, make_take
from vla_policy.data.conversion.journal import ConversionJournal
from vla_policy.data.conversion.sources import (
    RobotFile,
    bags_below,
    named_robot,
    robot_of_bag,
)
from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.writer import SetWriter
from vla_policy.embodiment import Embodiment

Tell = Callable[[int, int], None]  # (sources done, total)
# Calls a function of a module with each job, in processes elsewhere; what it returns, in the order of the jobs.
InOrder = Callable[[Callable[[BagJob], Made], Sequence[BagJob]], Iterator[Made]]


@dataclass(frozen=True, slots=True)
class Options:
    """robot: name or file; None: from the bags.

    fps: None: the robot's policy_hz. task, namespace: '' from the bags. in_order: None: a pool of
    processes.
    """

    robot: str | None = None
    fps: int | None = None
    task: str = ""
    namespace: str = ""
    workers: int = 0  # 0: one per core
    in_order: InOrder | None = None


DEFAULTS = Options()


@dataclass
class BagResult:
    """episodes, frames: added by this run. skipped: sources converted by an earlier run.

    notes: faults of recordings that are in the set. problems: why others are not.
    """

    episodes: int = 0
    frames: int = 0
    skipped: int = 0
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def convert_bags(
    sources: Sequence[Path],
    destination: Path,
    options: Options = DEFAULTS,
    tell: Tell = lambda done, total: None,
) -> BagResult:
    """Add one episode for each bag that the set does not have yet.

    sources: bags, or folders of bags. A bag that cannot be converted is reported in
    BagResult.problems and tried again by the next run; the others are converted. Raises
    ValueError for a robot or set that does not match, Busy if another process writes the set.
    """
    bags = [bag for source in sources for bag in _bags(source)]
    repeated = {bag.resolve() for bag in bags if bags.count(bag) > 1}
    if repeated:
        raise ValueError(f"{', '.join(map(str, repeated))}: given twice")
    scratch = destination / layout.STAGING / "convert"
    made_here = not destination.exists()
    try:
        file = _robot(bags[0], options.robot, scratch)
        fps = frames_per_second(file.robot, options.fps)
        with SetWriter(destination, file.robot, fps, robot_yaml=file.text) as writer:
            return _convert(bags, writer, file.path, fps, options, scratch, tell)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if made_here and not (destination / layout.INFO).exists():
            shutil.rmtree(destination, ignore_errors=True)


def frames_per_second(robot: Embodiment, wanted: int | None) -> int:
    """The rate of the frames. Raises ValueError if the robot's own is not whole and none was given."""
    fps = robot.policy_hz if wanted is None else wanted
    if fps != int(fps) or fps < 1:
        raise ValueError(
            f"fps: got {fps:g}, expected a whole number as data sets have it; give it with --fps"
        )
    return int(fps)


def _convert(
    bags: Sequence[Path],
    writer: SetWriter,
    robot: Path,
    fps: int,
    options: Options,
    scratch: Path,
    tell: Tell,
) -> BagResult:
    journal = ConversionJournal.read(writer.root, writer.episodes)
    waiting = [bag for bag in bags if not journal.has(source_name(bag))]
    outcome = BagResult(skipped=len(bags) - len(waiting))
    tell(outcome.skipped, len(bags))
    jobs = [
        BagJob(bag, robot, fps, scratch / f"{i:06d}", options.task, options.namespace)
        for i, bag in enumerate(waiting)
    ]
    for done, made in enumerate(_made(jobs, options), 1):
        if made.take is None:
            outcome.problems.append(made.problem)
        else:
            journal.note(source_name(made.bag), writer.episodes)
            saved = writer.append(made.take, made.shapes)
            outcome.episodes += 1
            outcome.frames += saved.length
            outcome.notes += made.notes
        tell(outcome.skipped + done, len(bags))
    return outcome


def _made(jobs: Sequence[BagJob], options: Options) -> Iterator[Made]:
    """The results of the jobs, in their order."""
    if options.in_order is not None and jobs:
        yield from options.in_order(make_take, jobs)
        return
    count = min(options.workers or os.cpu_count() or 1, len(jobs))
    if count <= 1:
        yield from map(make_take, jobs)
        return
    # A forked process would inherit the threads' locks, but not the threads, of its parent.
    context = multiprocessing.get_context("spawn")
    with context.Pool(count) as pool:
        yield from pool.imap(make_take, jobs)


def source_name(bag: Path) -> str:
    """A name of a bag that stays the same in the next run."""
    return str(bag.resolve())


def _bags(source: Path) -> list[Path]:
    found = [source] if is_bag(source) else bags_below(source)
    if not found:
        raise ValueError(f"{source}: got no bag, expected one or a folder of them")
    return found


def _robot(bag: Path, named: str | None, scratch: Path) -> RobotFile:
    return named_robot(named) if named is not None else robot_of_bag(open_bag(bag), scratch)
