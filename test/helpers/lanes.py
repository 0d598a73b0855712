"""Workers of a parallel run (`pytest -n N`): whole files for each, what judges times apart from what computes.

Tests with nodes or a browser wait more than they compute, and some of them judge times. So the quiet lanes, which
take none of these, run at low priority and fill what the others leave of the processors. The others take these
first and help with the rest afterwards.
"""

import os
import random
import socket
from collections.abc import Sequence

WORKER, WORKERS, RUN = (
    f"PYTEST_XDIST_{word}" for word in ("WORKER", "WORKER_COUNT", "TESTRUNUID")
)
TIMED = ("test/ros/", "test/web/", "test/without_ros/test_processes.py")
QUIET_NICE = 10
# Above what Linux hands out by itself, and not looked through by `vla stop`, which looks for robots in 0 to 100.
DOMAINS = range(215, 232)
# Half a minute and more: begun first, longest first, so that no lane works on long after the others.
LONG: tuple[str, ...] = (
    "test/ros/test_walk.py",
    "test/ros/test_check_topics.py",
    "test/ros/faults/test_fault_processes.py",
    "test/ros/test_robots.py",
    "test/ros/test_operator.py",
    "test/web/test_web_browser.py",
    "test/ros/test_shutdown.py",
    "test/ros/test_control_node.py",
    "test/ros/test_whole_graph.py",
    "test/train/test_multi_robot.py",
    "test/test_observer.py",
    "test/train/test_train.py",
    "test/without_ros/test_images.py",
)


def count() -> int:
    """How many workers this process is one of; 1 without -n."""
    return int(os.environ.get(WORKERS, "1"))


def own() -> int:
    """The number of this one, from 0."""
    return int(os.environ.get(WORKER, "gw0").removeprefix("gw"))


def is_quiet(worker: int, workers: int) -> bool:
    """Whether it takes nothing that judges times: the last third, one at least where there are several.

    Who comes later, in place of one that crashed, takes all.
    """
    return workers > 1 and workers - max(1, workers // 3) <= worker < workers


def next_file(waiting: Sequence[str], *, quiet: bool) -> str | None:
    """What a lane does next, None if nothing that waits is for it.

    >>> next_file(["test/a.py", "test/ros/b.py"], quiet=False)
    'test/ros/b.py'
    >>> next_file(["test/ros/b.py"], quiet=True)
    """
    fits = [file for file in waiting if not (quiet and file.startswith(TIMED))]
    rank = {file: k for k, file in enumerate(LONG)}
    return min(
        fits,
        key=lambda file: (not file.startswith(TIMED), rank.get(file, len(LONG))),
        default=None,
    )


def give_way() -> None:
    """Lower this process's priority if it is a quiet lane, and that of what it starts."""
    if is_quiet(own(), count()):
        os.nice(QUIET_NICE)


def free_domain() -> int:
    """A ROS domain in which nobody of this machine speaks, another one for each worker of a run.

    Raises ValueError if all are taken.
    """
    order = random.Random(os.environ.get(RUN)).sample(DOMAINS, len(DOMAINS))
    for domain in order[own() % len(DOMAINS) :: count()]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # RTPS 9.6.1: where the first participant of a domain is discovered.
                probe.bind(("", 7400 + 250 * domain + 10))
            except OSError:
                continue
            return domain
    raise ValueError(f"no free ROS domain from {DOMAINS[0]} to {DOMAINS[-1]}")
