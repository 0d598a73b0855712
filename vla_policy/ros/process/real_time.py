"""Real-time priority for a process that must not wait for others."""

from __future__ import annotations

import os

HOW = "`ulimit -r` says what is allowed, rtprio in /etc/security/limits.conf allows more"


def set_fifo_priority(priority: int) -> str | None:
    """Schedule all threads of this process, and those they make, by SCHED_FIFO.

    All threads: with only the commanding one prioritised it would wait for those that deserialise its messages.
    priority: 1 to 99. Returns the reason if it was refused, else None.
    """
    for thread in os.listdir("/proc/self/task"):
        try:
            os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(priority))
        except PermissionError:
            return f"ordinary priority, {priority} of SCHED_FIFO is not permitted: {HOW}"
        except ProcessLookupError:
            continue  # it has ended meanwhile
    return None
