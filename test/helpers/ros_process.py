"""rclpy of the test process."""

import threading
from contextlib import contextmanager

import rclpy
from rclpy import action


@contextmanager
def participant():
    """A new DDS participant.

    An old one goes on knowing a node that was killed, for 20 s or for good, and takes its services for
    available: what is asked of them before the next node of that name has been heard of is lost. And its
    endpoints are counted among those of the next. A new one knows only who lives.
    """
    rclpy.init()
    try:
        yield
    finally:
        rclpy.try_shutdown()


class ActionClient(action.ActionClient):
    """For a node whose executor turns already: rclpy hands the client to it a moment before it has its lock."""

    _lock = threading.Lock()
