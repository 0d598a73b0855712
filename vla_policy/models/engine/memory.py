"""Freed memory handed back to the system while a model is folded."""

import ctypes
import sys


def give_back() -> None:
    """Return what was freed between blocks that are still in use, which glibc keeps for later otherwise.

    A folded matrix seldom fits into the room of the one that it replaces. Does nothing where there is no glibc.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
