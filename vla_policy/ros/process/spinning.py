"""Turning an executor in a thread of its own, beside threads that make and destroy its clients and nodes."""

from __future__ import annotations

from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, ExternalShutdownException


def spin(executor: Executor) -> None:
    """Until the executor or its context is shut down.

    What another thread destroys while its callback runs ends rclpy's own spin(), and with it all that would still be
    heard.
    """
    ended = False
    while not ended:
        try:
            executor.spin()
            ended = True
        except InvalidHandle:
            continue
        except ExternalShutdownException:
            ended = True
