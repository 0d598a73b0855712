"""Disk threads yield to threads that control the robot."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

# Not higher: a thread that is delayed while it holds the GIL delays the writing thread too.
WRITING, ENCODING = (
    0,
    2,
)  # niceness of threads that must keep up with the streams, and of those that may fall behind


def give_way(nice: int) -> None:
    """Lower the calling thread's priority: other threads run first, also on the same core.

    Linux has niceness per thread. On other systems this does nothing.
    """
    thread = threading.get_native_id()
    with suppress(OSError, AttributeError):
        # Batch scheduling: it does not preempt others when it wakes up, nor delay them by its
        # slice.
        os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, thread, max(nice, os.getpriority(os.PRIO_PROCESS, thread)))
