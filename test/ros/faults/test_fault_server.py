"""The policy is on another machine, and that is lost while the robot moves: it holds, and goes on when it is back."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from std_msgs.msg import String

from vla_policy.ros.process import qos

SERVER = Path(__file__).parents[1] / "moving_server.py"
PERIOD_S, CHUNK_AGE_S = 0.02, 1.2


@pytest.fixture
def server():
    """server(port) starts one, and returns its process and port; 0: any."""
    running = []

    def start(port=0):
        line = [sys.executable, SERVER, str(port)]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd="/")
        running.append(process)
        return process, int(process.stdout.readline())

    yield start
    for process in running:
        process.kill()
        process.wait()


def lose(cell, process, number):
    """Send the signal while the robot moves; it holds in time, without a new command."""
    fault_ns = cell.robot.now_ns()
    process.send_signal(number)
    cell.robot.wait_stamp(fault_ns + round((CHUNK_AGE_S + PERIOD_S) * 1e9))
    cell.held(fault_ns, "no_chunk", "stale_chunk")
    assert (cell.last_move_ns() - fault_ns) / 1e9 <= CHUNK_AGE_S + PERIOD_S
    cell.nothing_moves()


def test_a_server_that_freezes_or_dies_is_held_for_and_found_again(cell, server, start_node):
    process, port = server()
    start_node("policy_node", embodiment="vx300s", policy=f"ws://127.0.0.1:{port}")
    words = cell.robot.create_publisher(String, "active_instruction", qos.ACTIVE)
    words.publish(String(data="go left"))
    cell.be_engaged()
    cell.wait_for_motion_left()
    lose(cell, process, signal.SIGSTOP)
    process.send_signal(signal.SIGCONT)
    cell.wait_for_motion_left()
    lose(cell, process, signal.SIGKILL)
    server(port)
    cell.wait_for_motion_left()
    words.publish(String())
    cell.robot.destroy_publisher(words)
