"""rclpy of the test process."""

import threading
from contextlib import contextmanager

import rclpy
from rclpy import action


@contextmanager
def participant():
    """A new DDS participant.

    An old one keeps a node that was killed, for 20 s or for good, and counts its services as
    available: requests sent before the next node of that name is discovered are lost. And the
    endpoints of both are counted together. A new one knows only running nodes.
    """
    rclpy.init()
    try:
        yield
    finally:
        rclpy.try_shutdown()


def waited(future, within_s=60.0):
    """The future's result, once it is there; for a node that spins in another thread."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    assert done.wait(within_s), f"no answer within {within_s} s"
    return future.result()


class ActionClient(action.ActionClient):
    """For a node whose executor spins: rclpy adds the client a moment before its lock exists."""

    _lock = threading.Lock()
