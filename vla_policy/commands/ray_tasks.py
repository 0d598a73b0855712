"""Many trials or bags as Ray tasks, for `--ray`: Ray schedules them, on this machine or on a cluster's.

A task calls the function that a process of a pool calls, so its result is the same. What it reads and writes has to lie at
the same path on each machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from vla_policy.commands.ray_session import gpus_of, ray_session, require_ray

if TYPE_CHECKING:  # bags are converted where there is no simulation
    from vla_policy.evaluate.parallel import AsDone


def add_ray_argument(parser: argparse.ArgumentParser) -> None:
    """--ray."""
    parser.add_argument(
        "--ray",
        action="store_true",
        help="as Ray tasks, --workers at a time; with RAY_ADDRESS as many as its cluster can",
    )


def require_fit(args: argparse.Namespace) -> None:
    """For --ray: raises ModuleNotFoundError without ray, ValueError for a number of workers below 1."""
    if not args.ray:
        return
    if args.workers < 1:
        raise ValueError(f"--workers: got {args.workers}, expected 1 or more with --ray")
    require_ray()


@contextlib.contextmanager
def tasks_of(args: argparse.Namespace) -> Iterator[AsDone | None]:
    """as_done in a session of Ray's until the with block ends; None without --ray.

    args: ray, workers, and device: a task for CUDA has a GPU for itself.
    """
    if not args.ray:
        yield None
        return
    require_fit(args)
    with ray_session(args.workers, log_to_driver=False):
        yield partial(as_done, gpus=gpus_of(args.device))


def as_done(
    work: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], *, gpus: int = 0
) -> Generator[tuple[int, Callable[[], Any]], None, None]:
    """As evaluate.parallel.AsDone, in a session of Ray's. gpus: of each task.

    A result is what work returns or raises; ChildProcessError if the task's process ended. Raises ValueError without so many
    GPUs, for which Ray would wait for ever.
    """
    import ray

    asked = {task: number for number, task in enumerate(_asked(work, jobs, gpus))}
    waiting = list(asked)
    while waiting:
        finished, waiting = ray.wait(waiting)
        for task in finished:
            yield asked[task], partial(_result, task)


def in_order(work: Callable[[Any], Any], jobs: Sequence[Any], *, workers: int) -> Iterator[Any]:
    """What work returns for each of jobs, in their order, in a session of Ray's of its own.

    Raises what work raises, and as as_done.
    """
    with ray_session(workers, log_to_driver=False):
        tasks = deque(_asked(work, [(job,) for job in jobs], 0))
        while tasks:
            yield _result(tasks.popleft())  # Ray does not keep it any longer


def _asked(work: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], gpus: int) -> list[Any]:
    import ray

    if gpus > ray.cluster_resources().get("GPU", 0):
        raise ValueError("--device: got one of CUDA, and Ray has found no GPU")
    task = ray.remote(num_cpus=1, num_gpus=gpus)(_do)
    return [task.remote(os.getcwd(), work, job) for job in jobs]


def _do(folder: str, work: Callable[..., Any], job: tuple[Any, ...]) -> Any:
    """A task, in a process of Ray's. folder: relative paths of the job begin there."""
    os.chdir(folder)
    os.environ["LP_NUM_THREADS"] = "1"  # software rendering takes no processor from other tasks
    return work(*job)


def _result(task: Any) -> Any:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(task)
    except RayTaskError as error:  # what work raised; the text of this one is a traceback
        raise error.cause from error
    except RayError as error:
        raise ChildProcessError(
            "a process of Ray's ended, perhaps for want of memory; fewer --workers need less"
        ) from error
