"""Settings of a process for sending and receiving images without losses or waits for memory.

Fast DDS gives each process half a megabyte of shared memory for sending; an image of 640x480
pixels is nearly twice that, and most of three sent together are lost. And the C library returns
the memory of every freed image to the system and fetches it again, page by page, for the next,
which takes longer than all the rest.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import MutableMapping

from vla_policy.check.doctor.fast_dds import PROFILES, ROOMY, TRANSPORTS

# mallopt(3): blocks above this are given back when freed; so is free memory at the end above that.
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
LARGEST_BLOCK, KEPT = 32 * 2**20, 128 * 2**20


def prepare(environ: MutableMapping[str, str] = os.environ) -> None:
    """To be called before ROS starts. Leaves alone what the user has set."""
    if not any(name in environ for name in (TRANSPORTS, *PROFILES)):
        environ[TRANSPORTS] = ROOMY
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # only glibc has it
        mallopt(MMAP_THRESHOLD, LARGEST_BLOCK)
        mallopt(TRIM_THRESHOLD, KEPT)
