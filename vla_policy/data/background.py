"""Threads that work for the disk give way to those that move the robot."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

# Not more: a thread that is held back while it holds the interpreter holds back the one that writes.
WRITING, ENCODING = (
    0,
    2,
)  # niceness of what must keep up with the streams, and of what may fall behind


def give_way(nice: int) -> None:
    """The calling thread goes behind others: what wakes up beside it runs at once, also on the same core.

    Linux counts niceness by thread. Where a system has no such thing the thread goes on as before.
    """
    thread = threading.get_native_id()
    with suppress(OSError, AttributeError):
        # Not interactive: it neither interrupts others when it wakes up nor keeps them waiting for its slice.
        os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, thread, max(nice, os.getpriority(os.PRIO_PROCESS, thread)))
