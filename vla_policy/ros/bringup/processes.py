"""Nodes as child processes: started together, watched, and stopped without orphans."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import IO

from vla_policy.ros.bringup.graph import NodeSpec, command_line

# How long each signal is given before the next, stronger one.
PATIENCE = ((signal.SIGINT, 6.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))
PR_SET_PDEATHSIG = 1
# The nodes' log format: the level, then the sentence.
LOG_FORMAT = {
    "RCUTILS_CONSOLE_OUTPUT_FORMAT": "[{severity}] {message}",
    "RCUTILS_COLORIZED_OUTPUT": "0",
}

OnLine = Callable[[str, str], None]


class Processes:
    """The running graph. start() and stop() are called from one thread, the main one.

    on_line(name, line) gets every line a node prints, from one reading thread per node.
    """

    def __init__(
        self,
        on_line: OnLine,
        *,
        environment: Mapping[str, str] | None = None,
        command: Callable[[NodeSpec], list[str]] = command_line,
    ) -> None:
        self._on_line = on_line
        self._command = command
        self._environment = {
            **os.environ,
            **LOG_FORMAT,
            "PYTHONUNBUFFERED": "1",
            **(environment or {}),
        }
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._readers: dict[str, threading.Thread] = {}

    def start(self, specs: Iterable[NodeSpec]) -> None:
        """Start the nodes. Raises ValueError if one of that name is running."""
        for spec in specs:
            if spec.name in self._running:
                raise ValueError(f"node {spec.name} is already running")
            process = subprocess.Popen(
                self._command(spec),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                # Ctrl-C goes to the whole group of the terminal; the nodes get it from stop() alone,
                # as a second signal would end them at once.
                preexec_fn=_own_group_that_ends_with_parent,
            )
            reader = threading.Thread(
                target=self._read, args=(spec.name, process.stdout), daemon=True
            )
            reader.start()
            self._running[spec.name], self._readers[spec.name] = process, reader

    def pids(self) -> dict[str, int]:
        """Process ids of the nodes that were started and not stopped."""
        return {name: process.pid for name, process in self._running.items()}

    def ended(self) -> dict[str, int]:
        """Exit codes of the nodes that ended by themselves."""
        codes = {name: process.poll() for name, process in self._running.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def stop(self, names: Iterable[str] | None = None) -> tuple[str, ...]:
        """Stop these nodes, or all: SIGINT, then SIGTERM, then SIGKILL, each after a bounded wait.

        Returns the names of those that had to be killed.
        """
        chosen = list(self._running) if names is None else list(names)
        killed: tuple[str, ...] = ()
        for number, patience_s in PATIENCE:
            left = [name for name in chosen if self._running[name].poll() is None]
            if not left:
                break
            if number == signal.SIGKILL:
                killed = tuple(left)
            for name in left:
                _signal_group(self._running[name], number)
            _wait_all([self._running[name] for name in left], patience_s)
        for name in chosen:
            self._readers.pop(name).join(timeout=1.0)
            self._running.pop(name)
        return killed

    def _read(self, name: str, output: IO[str]) -> None:
        with output:
            for line in output:
                self._on_line(name, line.rstrip("\n"))


def _own_group_that_ends_with_parent() -> None:
    """Its own process group, and SIGTERM from the kernel if the operator's process is killed."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal_group(process: subprocess.Popen, number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        process.poll()


def _wait_all(processes: list[subprocess.Popen[str]], patience_s: float) -> None:
    end = time.monotonic() + patience_s
    for process in processes:
        try:
            process.wait(timeout=max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            return


def stop_all(processes: Processes) -> None:
    """Stop every node; a second Ctrl-C meanwhile leaves no orphan."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    killed = processes.stop()
    if killed:
        print(f"had to kill: {', '.join(killed)}", file=sys.stderr)


def stop_on_sigterm() -> None:
    """Let SIGTERM end this program like Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
