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


class ActionClient(action.ActionClient):
    """For a node whose executor spins: rclpy adds the client a moment before its lock exists."""

    _lock = threading.Lock()
