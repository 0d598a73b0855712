"""Real-time priority for a process that must not wait for others."""

from __future__ import annotations

import os

HOW = "`ulimit -r` says what is allowed, rtprio in /etc/security/limits.conf allows more"


def set_fifo_priority(priority: int) -> str | None:
    """Schedule all threads of this process, and those they make, by SCHED_FIFO.

    All: where only the one that commands goes first, it waits for those that unpack messages for it.
    priority: 1 to 99. Returns why it was not done, None if it was.
    """
    for thread in os.listdir("/proc/self/task"):
        try:
            os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(priority))
        except PermissionError:
            return f"ordinary priority, {priority} of SCHED_FIFO is not permitted: {HOW}"
        except ProcessLookupError:
            continue  # it has ended meanwhile
    return None
