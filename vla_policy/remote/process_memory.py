"""Memory of a server's process: what was loaded stays, and large messages leave nothing behind."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

# Bytes from which on a buffer has pages of its own, which the system gets back when it is freed.
LARGE = 4 * 1024 * 1024
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
PAUSE_S, MOST_PAUSES = 2.0, 30


def settle_memory() -> None:
    """Once per process, when everything is loaded and before the first client.

    The objects that are there are left out of garbage collections from now on: a full one then takes as long as what clients
    have left needs, not a tenth of a second, and comes early enough that little is left. With glibc, LARGE stays the size from
    which buffers are returned to the system: by default it grows with the largest buffer that was freed, so that
    16 MiB of a hostile client would lie among small ones.
    """
    gc.collect()
    gc.freeze()
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_TRIM_THRESHOLD, 2 * LARGE)


async def keep_memory_small(refused: Callable[[], int], threads: Executor) -> None:
    """Give free pages back to the system once clients that were refused are quiet, or go on for MOST_PAUSES; for ever.

    refused: how many messages and connections were so far. What they needed is free, but lies between what is kept. Other
    threads wait for the allocator meanwhile, some milliseconds.
    """
    given = seen = refused()
    pauses = 0
    while True:
        await asyncio.sleep(PAUSE_S)
        before, seen, pauses = seen, refused(), pauses + 1
        if seen != given and (seen == before or pauses >= MOST_PAUSES):
            await asyncio.get_running_loop().run_in_executor(threads, give_back)
            given, pauses = seen, 0


def give_back() -> None:
    """Free pages go back to the system, those between used ones too. Nothing without glibc."""
    malloc_trim = _of_glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _of_glibc(name: str) -> Any:
    """A function of glibc; None elsewhere."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
