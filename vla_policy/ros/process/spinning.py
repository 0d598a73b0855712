"""Spins an executor in a thread, while other threads create and destroy its clients and nodes."""

from __future__ import annotations

from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, ExternalShutdownException


def spin(executor: Executor) -> None:
    """Spin until the executor or its context is shut down.

    rclpy's own spin() ends if another thread destroys an entity while its callback runs, and all
    later messages are lost.
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
