"""Starting and stopping nodes: autostart, signals, one orderly shutdown."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from queue import Empty, SimpleQueue

import rclpy
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import (
    ExternalShutdownException,
    MultiThreadedExecutor,
    SingleThreadedExecutor,
)
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from vla_policy.parsing.files import one_line, read_text
from vla_policy.parsing.strict_yaml import LIMIT as YAML_LIMIT
from vla_policy.ros.process import large_messages
from vla_policy.ros.process.real_time import set_fifo_priority

SWITCH_S = (
    0.0005  # how long a thread may keep the interpreter while another waits; Python's own: 0.005
)
SIGNAL_S = 0.2  # a signal is handled within it
ANSWERED_S = 0.5  # an answer has arrived by then
JOIN_S = 2.0  # a callback that takes longer is not waited for
PART_TASKS = 3  # turns of the executor from the end of a goal to its result on the wire
AGAIN_S = 1.0  # a signal to a process group comes twice: directly, and from the parent process
PRIORITY = "real_time_priority"  # parameter of a node that runs before others


class NodeEnds(RuntimeError):
    """Raised in a callback to end the node with a sentence for a person and exit code 1."""


def autostart(node: LifecycleNode) -> bool:
    """Configure and activate node; False if a transition was refused (the node has logged why)."""
    for transition in (node.trigger_configure, node.trigger_activate):
        if transition() != TransitionCallbackReturn.SUCCESS:
            return False
    return True


def run_node(
    make_node: Callable[[], Node], *, args: Sequence[str] | None = None, threads: int = 1
) -> int:
    """Run one node until SIGINT, SIGTERM, its shutdown transition or an exception in a callback; the exit code.

    A lifecycle node whose parameter `autostart` is true is configured and activated. On the way
    out node.part(), if it has one, runs among its callbacks; then, without them, its shutdown
    transition, unless it was that which ended it, and node.close() if it has one. All can still
    publish, as the context is only closed after them. A signal more than AGAIN_S after the first
    ends the process at once.
    ValueError from make_node, and arguments that ROS cannot read, are printed as one sentence without
    a traceback; exit code 2.
    """
    # A network or a physics step that shares its process with callbacks would wait 5 ms for the
    # interpreter at each of its hundreds of calls.
    sys.setswitchinterval(SWITCH_S)
    started = threading.Event()
    ended: SimpleQueue[None] = SimpleQueue()
    _end_on_signals(started, ended)
    try:
        large_messages.prepare()
        if (refusal := _init(args)) is not None:
            rclpy.logging.get_logger("vla_policy").fatal(refusal)
            return 2
        return _run(make_node, started, ended, threads)
    except KeyboardInterrupt:
        return 0  # a signal while the node was being made
    finally:
        rclpy.try_shutdown()


def _init(args: Sequence[str] | None) -> str | None:
    """Start ROS; why its arguments cannot be read, in a sentence, or None."""
    try:
        words = sys.argv if args is None else args
        for flag, file in pairwise(words):
            if flag == "--params-file":
                read_text(Path(file), YAML_LIMIT)  # ROS would wait for a pipe without end
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except (
        ValueError,
        OSError,
        rclpy_implementation.RCLError,
        rclpy_implementation.UnknownROSArgsError,
    ) as error:
        return one_line(error)
    return None


def _run(
    make_node: Callable[[], Node], started: threading.Event, ended: SimpleQueue[None], threads: int
) -> int:
    stop = threading.Event()
    try:
        node = make_node()
    except ValueError as error:
        rclpy.logging.get_logger("vla_policy").fatal(str(error))
        return 2
    executor = (
        SingleThreadedExecutor() if threads == 1 else MultiThreadedExecutor(num_threads=threads)
    )
    # spin_once() returns only after a callback: this one exists to be called.
    awake = node.create_guard_condition(lambda: None, callback_group=ReentrantCallbackGroup())
    executor.add_node(node)
    name = node.get_name()
    failures: list[str] = []
    spinner = threading.Thread(
        target=_spin, args=(executor, node, stop, ended, failures), name="executor"
    )
    try:
        if isinstance(node, LifecycleNode) and node.get_parameter("autostart").value:
            autostart(node)
        # What is loaded by now lasts: collections and the end of the process need not walk through
        # it again, which with torch takes seconds.
        gc.freeze()
        _go_first(node)
        started.set()
        spinner.start()
        _wait(ended)
        _part(executor, spinner, node)
    finally:
        _end_spinning(executor, spinner, stop, awake)
        _close(node, transition=started.is_set())
    for failure in failures:
        rclpy.logging.get_logger("vla_policy").fatal(f"{name}: {failure}")
    return 1 if failures else 0


def _spin(
    executor: SingleThreadedExecutor | MultiThreadedExecutor,
    node: Node,
    stop: threading.Event,
    ended: SimpleQueue[None],
    failures: list[str],
) -> None:
    """Run callbacks until stop is set or the node ends by itself; ended is then set."""
    try:
        while not stop.is_set() and not _is_finalized(node):
            executor.spin_once()
        if _is_finalized(node):
            _answer_last(executor)
    except ExternalShutdownException:
        return
    except NodeEnds as end:
        failures.append(str(end))
    except rclpy_implementation.InvalidHandle:
        # A callback that was still running when the node was taken down around it.
        if not stop.is_set():
            failures.append(traceback.format_exc())
    except Exception:  # noqa: BLE001 - outermost: what a callback raised ends the node, with its traceback
        failures.append(traceback.format_exc())
    finally:
        ended.put(None)


def _answer_last(executor: SingleThreadedExecutor | MultiThreadedExecutor) -> None:
    """After the shutdown transition: its caller is answered, goals get their results.

    The participant's goodbye takes another path and may overtake them: an answer from an unknown node is dropped.
    """
    end_s = time.monotonic() + ANSWERED_S
    while (left_s := end_s - time.monotonic()) > 0.0:
        executor.spin_once(timeout_sec=left_s)


def _wait(ended: SimpleQueue[None]) -> None:
    """Wait for a signal or for the end of the executor's thread.

    A wait without end can miss a signal that another thread of the process receives, or that comes
    just before it: Python handles signals after the wait.
    """
    while True:
        try:
            return ended.get(timeout=SIGNAL_S)
        except Empty:
            continue


def _part(
    executor: SingleThreadedExecutor | MultiThreadedExecutor, spinner: threading.Thread, node: Node
) -> None:
    """Run node.part() while the callbacks that send its messages still run."""
    part = getattr(node, "part", None)
    if part is None or not spinner.is_alive():
        return
    # Its messages are sent by tasks that it starts: a result, then the answers to clients that wait for it.
    for task in (part, *[lambda: None] * PART_TASKS):
        done = threading.Event()
        executor.create_task(task).add_done_callback(lambda _, done=done: done.set())
        if not done.wait(JOIN_S):
            return


def _end_spinning(
    executor: SingleThreadedExecutor | MultiThreadedExecutor,
    spinner: threading.Thread,
    stop: threading.Event,
    awake: GuardCondition,
) -> None:
    """First the thread ends, then the executor: rclpy's shutdown() does not wait for a thread that
    spins, and takes the guard conditions and nodes away from under its wait ("wait set is empty").
    """
    stop.set()
    if spinner.is_alive():
        awake.trigger()
        spinner.join(timeout=JOIN_S)
    executor.shutdown(timeout_sec=JOIN_S)


def _is_finalized(node: Node) -> bool:
    """Whether a lifecycle node was shut down: no transition leaves that state."""
    if not isinstance(node, LifecycleNode):
        return False
    state: str = node._state_machine.current_state[1]
    return state == "finalized"  # rclpy exposes it nowhere else


def _go_first(node: Node) -> None:
    if node.has_parameter(PRIORITY) and (priority := node.get_parameter(PRIORITY).value) > 0:
        node.get_logger().info(set_fifo_priority(priority) or f"real-time priority {priority}")


def _close(node: Node, *, transition: bool) -> None:
    """transition: a lifecycle node is in a primary state, not interrupted between two."""
    if transition and isinstance(node, LifecycleNode) and not _is_finalized(node):
        node.trigger_shutdown()
    close = getattr(node, "close", None)
    if close is not None:
        close()
    _leave(node)


def _leave(node: Node) -> None:
    """Destroy the node and all that would keep it in the graph.

    destroy_node() does not destroy actions and lifecycle services. While one of them exists, so
    does the DDS participant: the process then ends without deregistering, and others see its node
    for 20 s more.
    """
    for waitable in list(node.waitables):
        if (destroy := getattr(waitable, "destroy", None)) is not None:
            destroy()
    node.destroy_node()
    if isinstance(node, LifecycleNode):
        node._state_machine.destroy_when_not_in_use()  # rclpy gives no other name for it


def _end_on_signals(started: threading.Event, ended: SimpleQueue[None]) -> None:
    first_s: list[float] = []

    def handle(number: int, _frame: object) -> None:
        if first_s:
            if time.monotonic() - first_s[0] > AGAIN_S:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            return
        first_s.append(time.monotonic())
        # Not an Event: the thread that is interrupted may hold its lock.
        ended.put(None)
        if not started.is_set():
            raise KeyboardInterrupt  # interrupts whatever takes long, such as loading a policy

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
