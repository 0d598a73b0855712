"""What turns an executor in a thread goes on when something is destroyed beside it, and ends with it."""

from unittest.mock import create_autospec

import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.exceptions import InvalidHandle  # noqa: E402
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor  # noqa: E402

from vla_policy.ros.process.spinning import spin  # noqa: E402


@pytest.mark.parametrize("end", [None, ExternalShutdownException()])
def test_it_goes_on_after_what_was_destroyed_and_ends_with_the_executor(end):
    executor = create_autospec(SingleThreadedExecutor, instance=True)
    executor.spin.side_effect = [InvalidHandle("destroyed"), InvalidHandle("destroyed"), end]
    spin(executor)
    assert executor.spin.call_count == 3


def test_another_error_is_not_swallowed():
    executor = create_autospec(SingleThreadedExecutor, instance=True)
    executor.spin.side_effect = RuntimeError("of a callback")
    with pytest.raises(RuntimeError, match="of a callback"):
        spin(executor)
