"""Memory of a server's process: what was loaded stays, and large messages leave nothing behind."""

from __future__ import annotations

import ctypes
import gc
import sys

# Bytes from which on a buffer has pages of its own, which the system gets back when it is freed.
LARGE = 4 * 1024 * 1024
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


def settle_memory() -> None:
    """Once per process, when everything is loaded and before the first client.

    The objects that are there are left out of garbage collections from now on: a full one then takes as long as what clients
    have left needs, not a tenth of a second, and comes early enough that little is left. With glibc, LARGE stays the size from
    which buffers are returned to the system: by default it grows with the largest buffer that was freed, so that
    16 MiB of a hostile client would lie among small ones.
    """
    gc.collect()
    gc.freeze()
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_TRIM_THRESHOLD, 2 * LARGE)
