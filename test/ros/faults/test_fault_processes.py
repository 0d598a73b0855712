"""Processes that are killed, hang or lose their disk; models that raise, hang or run out of memory."""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from ros_process import ActionClient, participant
from std_msgs.msg import String
from std_srvs.srv import Trigger
from vla_policy.action import ExecuteInstruction

from vla_policy.ros.messages import convert
from vla_policy.ros.process import qos

STUB = Path(__file__).parents[1] / "stub_policy.py"
PERIOD_S = 0.02
CHUNK_AGE_S = 1.2
LEASE_S = 4.0  # a task node that was killed is found dead after its lease of 3 s
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


@pytest.fixture
def ros():
    """Some are killed, and the next have their names."""
    with participant():
        yield


@pytest.fixture
def policy(tmp_path):
    """policy() starts the real policy node with a stub model; policy.mode(word) changes it."""
    mode, running = tmp_path / "mode", []
    mode.write_text("steady")

    def start():
        environment = {**os.environ, "STUB_MODE": str(mode)}
        running.append(subprocess.Popen([sys.executable, STUB], env=environment, cwd="/"))
        return running[-1]

    start.mode = mode.write_text
    yield start
    mode.write_text("steady")
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def follow(cell):
    """follow() makes the test the task node: an instruction is active, the robot follows it."""
    publisher = cell.robot.create_publisher(String, "active_instruction", qos.ACTIVE)

    def begin():
        publisher.publish(String(data="go left"))
        cell.be_engaged()
        cell.wait_for_motion_left()

    yield begin
    publisher.publish(String())
    cell.robot.destroy_publisher(publisher)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda n: n.name)
def test_the_policy_process_ends_and_comes_back(cell, policy, follow, reaction, number):
    process = policy()
    follow()
    fault_ns = cell.robot.now_ns()
    process.send_signal(number)
    assert process.wait(15) == (0 if number is not signal.SIGKILL else -signal.SIGKILL)
    cell.held(fault_ns, "no_chunk", "stale_chunk")
    seconds = (cell.last_move_ns() - fault_ns) / 1e9
    reaction(f"policy: {number.name}", seconds, CHUNK_AGE_S + PERIOD_S)
    cell.nothing_moves()
    policy()
    cell.wait_for_motion_left()  # the instruction is still active: only chunks of the new process


@pytest.mark.parametrize("mode", ["raise", "hang", "memory", "nan"])
def test_the_model_fails_and_recovers(cell, policy, follow, reaction, mode):
    policy()
    follow()
    fault_ns = cell.robot.now_ns()
    policy.mode(mode)
    cell.held(fault_ns, "no_chunk", "stale_chunk")
    seconds = (cell.last_move_ns() - fault_ns) / 1e9
    reaction(f"model: {mode}", seconds, CHUNK_AGE_S + PERIOD_S)
    cell.nothing_moves()
    if mode == "hang":
        policy.mode("steady")
        cell.wait_for_motion_left()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda n: n.name)
def test_the_control_process_ends_and_comes_back(
    mock_robot, start_node, shared_nodes, cell_of, reaction, number
):
    shared_nodes.end()
    process = start_node("control_node")
    cell = cell_of(mock_robot, process)
    cell.be_ready()
    cell.be_engaged()
    cell.move()
    fault_ns = mock_robot.now_ns()
    process.send_signal(number)
    assert process.wait(15) == (0 if number is not signal.SIGKILL else -signal.SIGKILL)
    ended_ns = mock_robot.now_ns()
    late = cell.last_move_ns() - fault_ns
    reaction(f"control: {number.name}", max(0.0, late / 1e9), 0.5)
    assert (mock_robot.targets[-1][1] != mock_robot.targets[-2][1]).any()  # no repetition
    mock_robot.statuses.clear()
    cell_of(mock_robot, start_node("control_node"))
    mock_robot.send_chunk([0.35] * 20, sequence=50)
    mock_robot.wait_status(lambda s: s.reason == "disengaged", "a new control node")
    mock_robot.wait_ticks(3)
    # Nothing before an operator engages it again.
    assert mock_robot.commanded_since(ended_ns) == []
    cell.within_limits()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda n: n.name)
def test_a_stop_then_a_hand_then_the_control_process_ends(
    mock_robot, start_node, shared_nodes, cell_of, reaction, stamped, number
):
    """Nothing may move any more: whatever is heard after the stop is late by as much as it is stamped."""
    shared_nodes.end()
    process = start_node("control_node")
    cell = cell_of(mock_robot, process)
    cell.be_ready()
    cell.be_engaged()
    cell.move()
    fault_ns = mock_robot.now_ns()
    assert mock_robot.call(Trigger, "/control/stop").success
    mock_robot.wait_ticks(1)
    mock_robot.pose = mock_robot.pose + np.array([0.1, 0.25, 0.05, 0.0, 0.0, 0.0, 0.0])
    hand = mock_robot.pose
    mock_robot.wait_ticks(1)
    process.send_signal(number)
    assert process.wait(15) == (0 if number is not signal.SIGKILL else -signal.SIGKILL)
    marker = mock_robot.create_publisher(PoseStamped, "target_pose", 10)
    mark = stamped(hand, "sentinel")
    timer = mock_robot.create_timer(0.05, lambda: marker.publish(mark))
    mock_robot.wait(
        lambda: any(t[2].frame_id == "sentinel" for t in mock_robot.targets), "the sentinel"
    )
    mock_robot.destroy_timer(timer)
    mock_robot.destroy_publisher(marker)
    stamps = [t[0] for t in mock_robot.targets if t[2].frame_id == "base_link"]
    late_s = max(0.0, (stamps[-1] - fault_ns) / 1e9)
    reaction(f"stop, hand, control: {number.name}", late_s, PERIOD_S)
    assert (mock_robot.pose == hand).all()


LATE_S = 0.3


def test_a_control_process_that_is_late_goes_on_from_where_the_robot_is(cell, reaction):
    """Stopped by the scheduler for LATE_S: nothing goes out meanwhile, and no step afterwards is a jump."""
    cell.be_engaged()
    cell.move()
    fault_ns = cell.robot.now_ns()
    cell.process.send_signal(signal.SIGSTOP)
    time.sleep(LATE_S)  # the fault itself: a process that gets no processor for so long
    cell.process.send_signal(signal.SIGCONT)
    cell.robot.wait_stamp(fault_ns + round((LATE_S + 0.3) * 1e9))
    stamps = [t[0] for t in cell.robot.targets]
    gap_s = max(b - a for a, b in pairwise(stamps)) / 1e9
    assert gap_s > 0.8 * LATE_S
    late = [t for t in cell.robot.targets if t[0] > fault_ns + 0.8 * LATE_S * 1e9]
    limits = cell.robot.robot.limits.groups["arm"]
    for before, after in pairwise(late):
        way_m = np.linalg.norm(after[1][:3] - before[1][:3])
        dt_s = min((after[0] - before[0]) / 1e9, 2 * PERIOD_S)
        assert way_m <= limits.linear_speed_m_s * dt_s + 1e-6
    last_ns = max((s for s in stamps if s < fault_ns + 0.8 * LATE_S * 1e9), default=fault_ns)
    late_s = max(0.0, (last_ns - fault_ns) / 1e9)  # of the last command before the silence
    reaction(f"control: late by {LATE_S} s, then on from where the robot is", late_s, PERIOD_S)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda n: n.name)
def test_the_task_process_ends(cell, policy, start_node, reaction, number):
    robot = cell.robot
    policy()
    task = start_node("task_node")
    cell.be_engaged()
    publisher = robot.create_publisher(String, "instruction", qos.COMMAND)
    timer = robot.create_timer(0.5, lambda: publisher.publish(String(data="go left")))
    cell.wait_for_motion_left()
    robot.destroy_timer(timer)
    robot.destroy_publisher(publisher)
    fault_ns = robot.now_ns()
    task.send_signal(number)
    assert task.wait(15) == (0 if number is not signal.SIGKILL else -signal.SIGKILL)
    bound_s = CHUNK_AGE_S + PERIOD_S + (LEASE_S if number is signal.SIGKILL else 0.0)
    robot.wait_stamp(fault_ns + round(bound_s * 1e9))
    cell.held(fault_ns, "no_chunk", "stale_chunk")
    reaction(f"task: {number.name}", (cell.last_move_ns() - fault_ns) / 1e9, bound_s)
    cell.nothing_moves()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda n: n.name)
def test_the_page_ends_and_the_motion_goes_on(cell, policy, follow, start_node, reaction, number):
    page = start_node("web_node", port=8797)
    policy()
    follow()
    cell.robot.wait(lambda: cell.robot.get_publishers_info_by_topic("/instruction"), "the page")
    page.send_signal(number)
    assert page.wait(15) == (0 if number is not signal.SIGKILL else -signal.SIGKILL)
    cell.wait_for_motion_left()
    assert cell.robot.statuses[-1].engaged
    reaction(f"page: {number.name}, the motion goes on", 0.0, 0.0)


def test_a_goal_ends_with_the_name_of_the_cause(cell, policy, start_node):
    policy()
    start_node("task_node")
    cell.be_engaged()
    client = ActionClient(cell.robot, ExecuteInstruction, "execute_instruction")
    results = []

    def on_goal(future):
        if future.result().accepted:
            future.result().get_result_async().add_done_callback(on_result)
        else:
            send()  # it has not heard of all others yet

    def on_result(done):
        results.append(done.result().result)

    def send():
        client.send_goal_async(goal).add_done_callback(on_goal)

    assert client.wait_for_server(30)
    cell.robot.wait_ticks(3)  # the task node has heard that the robot is engaged
    goal = ExecuteInstruction.Goal(instruction="go left")
    send()
    cell.wait_for_motion_left()
    cell.robot.silent.add("wrist")
    cell.robot.wait(lambda: results, "the result of the goal")
    assert results[0].outcome == ExecuteInstruction.Result.STALE
    assert "wrist/image_raw" in results[0].message
    client.destroy()


def test_a_full_disk_under_the_logs(mock_robot, shared_nodes, cell_of, tmp_path, reaction):
    logs = tmp_path / "logs"
    logs.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(logs)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system: run it as root")
    shared_nodes.end()
    with open("/dev/full", "w") as full:
        environment = {**os.environ, "ROS_LOG_DIR": str(logs)}
        (logs / "filler").write_bytes(bytes(16 * 1024))
        process = subprocess.Popen(["control_node"], env=environment, stderr=full, cwd="/")
        try:
            cell = cell_of(mock_robot, process)
            cell.be_ready()
            cell.be_engaged()
            cell.move()
            mock_robot.silent.add("front")
            cell.held(0, "stale_camera")
            seconds = (cell.last_move_ns() - mock_robot.last_ns["front"]) / 1e9
            reaction("camera front: kill, with a full disk", seconds, 0.35 + PERIOD_S)
            mock_robot.silent.clear()
            mock_robot.wait_status(lambda s: s.reason == "no_chunk", "fresh again")
            cell.moves_again()
            assert process.poll() is None
            process.terminate()
            assert process.wait(15) == 0
            last = convert.ns_from_stamp(mock_robot.statuses[-1].header.stamp)
            assert last > 0
            cell.within_limits()
        finally:
            process.kill()
            process.wait()
            subprocess.run(["umount", "-l", str(logs)], check=True)


def test_in_shadow_everything_runs_and_nothing_reaches_a_controller(
    mock_robot, start_node, shared_nodes, cell_of
):
    from geometry_msgs.msg import PoseStamped

    shared_nodes.end()
    heard = []

    def on_shadow(msg):
        with mock_robot.heard:
            heard.append(msg)
            mock_robot.heard.notify_all()

    mock_robot.create_subscription(PoseStamped, "shadow/target_pose", on_shadow, 100)
    cell = cell_of(mock_robot, start_node("control_node", shadow=True))
    cell.be_ready()
    cell.be_engaged()
    x = mock_robot.pose[0]
    mock_robot.send_chunk([x + 0.002 * (k + 1) for k in range(20)])
    mock_robot.wait(lambda: len(heard) > 20, "commands below shadow/")
    status = mock_robot.wait_status(lambda s: s.commands_sent > 20, "a status")
    assert status.shadow
    names = [name for name, _ in mock_robot.get_topic_names_and_types()]
    assert "/shadow/gripper_controller/commands" in names
    mock_robot.wait_ticks(3)
    assert mock_robot.targets == [], "must not move"
    assert mock_robot.grippers == [], "must not move"
    assert mock_robot.count_publishers("target_pose") == 0
    # Another one drives the robot elsewhere: the shadow starts again from where it is.
    mock_robot.pose = mock_robot.pose + 0.1 * (mock_robot.pose == x)
    mock_robot.wait_ticks(8)
    assert mock_robot.statuses[-1].engaged
    count = len(heard)
    mock_robot.send_chunk([mock_robot.pose[0] + 0.002] * 5, sequence=1)
    mock_robot.wait(lambda: len(heard) > count + 5, "commands of the new place")
    assert abs(heard[-1].pose.position.x - mock_robot.pose[0]) < 0.01
    assert mock_robot.targets == [], "must not move"
