"""Nodes as processes: none stays behind, however the end comes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from vla_policy.ros.bringup import processes
from vla_policy.ros.bringup.graph import NodeSpec

# What a node does on SIGINT: end in order, or not at all.
POLITE = "import signal, sys, time\nsignal.signal(2, lambda *_: sys.exit(0))\nprint('up')\ntime.sleep(60)"
STUBBORN = "import signal, time\nsignal.signal(2, signal.SIG_IGN)\nsignal.signal(15, signal.SIG_IGN)\nprint('up')\ntime.sleep(60)"


def started(code: str, names=("one",)):
    lines: list[tuple[str, str]] = []
    running = processes.Processes(
        lambda name, line: lines.append((name, line)),
        command=lambda spec: [sys.executable, "-c", code],
    )
    running.start(NodeSpec(name) for name in names)
    wait_for(lambda: len(lines) == len(names))
    return running, lines


def wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_polite_nodes_are_not_killed():
    running, lines = started(POLITE, ("one", "two"))
    assert sorted(lines) == [("one", "up"), ("two", "up")]
    assert running.stop() == ()
    assert running.ended() == {}


def test_one_node_can_be_replaced():
    running, lines = started(POLITE, ("one", "two"))
    running.stop(["one"])
    running.start([NodeSpec("one")])
    wait_for(lambda: len(lines) == 3)
    with pytest.raises(ValueError, match="already running"):
        running.start([NodeSpec("two")])
    running.stop()


def test_a_stubborn_node_is_killed_in_bounded_time(monkeypatch):
    patience = tuple((number, 0.2) for number, _ in processes.PATIENCE)
    monkeypatch.setattr(processes, "PATIENCE", patience)
    running, _ = started(STUBBORN)
    begin = time.monotonic()
    assert running.stop() == ("one",)
    assert time.monotonic() - begin < 5.0


def test_a_node_that_ends_is_seen():
    running, _ = started("print('up'); raise SystemExit(3)")
    wait_for(lambda: running.ended() == {"one": 3})
    running.stop()


def test_no_node_outlives_a_killed_operator():
    code = (
        "import sys, time\n"
        "from vla_policy.ros.bringup import processes\n"
        "from vla_policy.ros.bringup.graph import NodeSpec\n"
        f"command = lambda spec: [sys.executable, '-c', {POLITE.replace('print(' + repr('up') + ')', 'import os; print(os.getpid())')!r}]\n"
        "running = processes.Processes(lambda name, line: print(line, flush=True), command=command)\n"
        "running.start([NodeSpec('one')])\n"
        "time.sleep(60)\n"
    )
    operator = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        node = int(operator.stdout.readline())
        assert alive(node)
        os.kill(operator.pid, signal.SIGKILL)
        wait_for(lambda: not alive(node))
    finally:
        operator.kill()
        operator.wait()
