"""Workers of a parallel run (`pytest -n N`): whole files, with timing-sensitive tests kept apart.

Tests with nodes or a browser wait more than they compute, and some of them check times. So the
quiet lanes, which take none of these, run at low priority and use the processor time that the
others leave. The other lanes take these tests first and help with the rest afterwards.
"""

import os
import random
import socket
from collections.abc import Sequence

WORKER, WORKERS, RUN = (
    f"PYTEST_XDIST_{word}" for word in ("WORKER", "WORKER_COUNT", "TESTRUNUID")
)
TIMED = (
    "test/ros/",
    "test/web/",
    "test/remote/test_client.py",
    "test/without_ros/test_processes.py",
)
QUIET_NICE = 10
# Above Linux's range of ephemeral ports, and not searched by `vla stop`, which searches 0 to 100.
DOMAINS = range(215, 232)
# Half a minute and more, and of what `make check` runs some seconds of a processor: started first,
# longest first, so that no lane works long after the others.
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
    "test/data/checks/test_set_faults.py",
    "test/data/lerobot/test_writer.py",
    "test/safety/test_guard_parts.py",
    "test/safety/test_late_ticks.py",
    "test/families/test_training.py",
    "test/train/test_lessons.py",
    "test/data/checks/test_other_sources.py",
)


def count() -> int:
    """Number of workers of this run; 1 without -n."""
    return int(os.environ.get(WORKERS, "1"))


def own() -> int:
    """Index of this worker, from 0."""
    return int(os.environ.get(WORKER, "gw0").removeprefix("gw"))


def is_quiet(worker: int, workers: int) -> bool:
    """Whether a worker takes no timing-sensitive tests: the last third, at least one of several.

    A worker that replaces a crashed one takes all tests.
    """
    return workers > 1 and workers - max(1, workers // 3) <= worker < workers


def next_file(waiting: Sequence[str], *, quiet: bool) -> str | None:
    """The next file of a lane; None if no waiting file is for it.

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


def free_domain(after: int | None = None) -> int:
    """A ROS domain that nothing on this machine uses, a different one for each worker of a run.

    after: the one used last, which comes last again. Raises ValueError if all are in use.
    """
    order = random.Random(os.environ.get(RUN)).sample(DOMAINS, len(DOMAINS))
    mine = order[own() % len(DOMAINS) :: count()]
    if after in mine:
        turn = mine.index(after) + 1
        mine = mine[turn:] + mine[:turn]
    for domain in mine:
        if is_free(domain):
            return domain
    raise ValueError(f"no free ROS domain from {DOMAINS[0]} to {DOMAINS[-1]}")


def is_free(domain: int) -> bool:
    """Whether no participant of this machine is in the domain."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # RTPS 9.6.1: the port on which the first participant of a domain is discovered.
            probe.bind(("", 7400 + 250 * domain + 10))
        except OSError:
            return False
    return True
