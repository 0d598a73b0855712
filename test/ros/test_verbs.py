"""`vla demo`, `up` and `say` when something is wrong: one sentence, no traceback, nobody left."""

import os
import shutil
import signal
import socket
import subprocess
import time

import pytest

FORBIDDEN = "Traceback"


def vla(*words: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess:
    program = shutil.which("vla")
    assert program, "vla is not on the PATH: source tools/env.sh"
    return subprocess.run(
        [program, *words], capture_output=True, text=True, timeout=timeout_s, cwd="/"
    )


def nodes_of(pid: int) -> list[int]:
    """Process ids whose parent is pid."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    parent = int(stat.read().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == pid:
                found.append(int(entry))
    return found


def test_an_instruction_without_sense(tmp_path):
    ended = vla("demo", "--out", str(tmp_path), "flurble", "the", "cube")
    assert ended.returncode == 1
    assert "not understood" in ended.stderr and FORBIDDEN not in ended.stderr


def test_a_port_in_use(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for verb in (["demo", "--out", str(tmp_path)], ["up", "--sim"]):
            ended = vla(*verb, "--web-port", str(port))
            assert ended.returncode == 1
            assert f"port {port} is in use" in ended.stderr and FORBIDDEN not in ended.stderr


def test_a_checkpoint_that_is_not_there(tmp_path):
    ended = vla("demo", "--policy", "huge", "--web-port", "0", "--out", str(tmp_path))
    assert ended.returncode == 1
    assert "policy not configured" in ended.stderr and "huge" in ended.stderr
    assert FORBIDDEN not in ended.stderr


def test_a_policy_that_is_none_is_told_before_anything_starts():
    ended = vla("up", "vx300s", "--sim", "--web-port", "0", "--policy", "nonsense")
    assert ended.returncode == 1 and ended.stdout == ""
    assert "policy 'nonsense': no folder" in ended.stderr and FORBIDDEN not in ended.stderr


def test_a_robot_that_is_not_described():
    ended = vla("up", "r2d2")
    assert ended.returncode == 1
    assert "r2d2" in ended.stderr and FORBIDDEN not in ended.stderr


def test_nobody_to_talk_to():
    ended = vla("say", "pick up the red cube")
    assert ended.returncode == 1
    assert "no robot in ROS domain" in ended.stderr and FORBIDDEN not in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_every_node(number):
    program = shutil.which("vla")
    up = subprocess.Popen(
        [program, "up", "--sim", "--web-port", "0"], stdout=subprocess.PIPE, text=True, cwd="/"
    )
    try:
        for line in up.stdout:
            if "control" in line and "50 Hz" in line:
                break
        nodes = nodes_of(up.pid)
        assert len(nodes) == 4
        up.send_signal(number)
        assert up.wait(timeout=20.0) == 0
        end = time.monotonic() + 5.0
        while any(os.path.exists(f"/proc/{node}") for node in nodes):
            assert time.monotonic() < end, "a node outlived vla up"
            time.sleep(0.05)
    finally:
        up.kill()
        up.stdout.close()
        up.wait()
