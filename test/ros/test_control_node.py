"""The control node as a process, between a policy and a robot that the test plays."""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from geometry_msgs.msg import PoseStamped  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from std_msgs.msg import Float64MultiArray, String  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402
from vla_policy.msg import ControlStatus  # noqa: E402

from vla_policy.embodiment import load_embodiment  # noqa: E402
from vla_policy.paths import config_dir  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402

JOINT_ROBOT = Path(__file__).parents[1] / "golden" / "joint_robot.yaml"
HOLD_BOUND_S = 0.5  # from the last planned row, or from a stale input, to the last motion


@pytest.fixture
def control(mock_robot, shared_nodes):
    """A control node that is active, disengaged and not stopped."""
    process = shared_nodes("control_node")
    mock_robot.wait(lambda: mock_robot.statuses, "the first status")
    if mock_robot.statuses[-1].reason == "inactive":  # as a test that failed left it
        shared_nodes.end()
        process = shared_nodes("control_node")
    elif mock_robot.statuses[-1].reason != "disengaged":
        engage(mock_robot, False)
        mock_robot.call(Trigger, "/control/reset")
    mock_robot.wait_status(lambda s: s.reason == "disengaged", "active and disengaged")
    mock_robot.wait_ticks(1)  # what it still commanded in the test before has moved this robot too
    mock_robot.begin_anew()
    mock_robot.wait_ticks(1)
    return process


def engage(robot, value=True):
    return robot.call(SetBool, "/control/engage", SetBool.Request(data=value))


def engaged(robot):
    robot.wait_status(lambda s: 0 <= s.joint_state_age < 0.1, "fresh joint states")
    response = engage(robot)
    for _ in range(20):  # the cameras may be heard a moment later
        if response.success:
            break
        robot.wait_ticks(1)
        response = engage(robot)
    assert response.success, response.message


def moved_to(robot, x, tolerance=1e-6):
    robot.wait(
        lambda: robot.targets and abs(robot.targets[-1][1][0] - x) < tolerance,
        f"command to x = {x}",
    )


def counts(status):
    return dict(zip(status.intervention_names, status.intervention_counts, strict=True))


def test_nothing_goes_out_before_engage_and_then_the_rows_are_followed(mock_robot, control):
    mock_robot.send_chunk([0.31, 0.32])
    mock_robot.wait_ticks()
    assert mock_robot.targets == [], "must not move"
    assert mock_robot.grippers == [], "must not move"
    engaged(mock_robot)
    mock_robot.wait_ticks()
    assert mock_robot.targets == [], "must not move"  # the chunk from before is not executed later
    rows = [[0.30 + 0.005 * (k + 1), *mock_robot.pose[1:], 0.4] for k in range(8)]
    obs_ns = mock_robot.send_chunk(rows)
    moved_to(mock_robot, 0.34, 0.0015)
    status = mock_robot.wait_status(lambda s: s.reason == "no_chunk", "the end of the rows")
    assert status.level == ControlStatus.LEVEL_HOLD
    assert status.engaged
    assert status.chunk_latency[2] < 1.0
    limits = mock_robot.robot.limits.groups["arm"]
    stamps, poses, headers = zip(*mock_robot.targets, strict=True)
    assert {h.frame_id for h in headers} == {"base_link"}
    steps = np.linalg.norm(np.diff([p[:3] for p in poses], axis=0), axis=1)
    assert steps.max() <= limits.linear_speed_m_s * 0.04 + 1e-9
    for stamp_ns, pose in zip(stamps, poses, strict=True):
        # Row k is reached at obs + (k + 1) steps: 5 mm each 100 ms, at 50 mm/s.
        planned = 0.30 + min(0.04, max(0.0, (stamp_ns - obs_ns) * 1e-9 * 0.05))
        assert abs(pose[0] - planned) < 0.004
    hand = mock_robot.robot.outputs["hand"]
    assert mock_robot.grippers[-1] == pytest.approx(
        [hand.closed + 0.4 * (hand.open - hand.closed)]
    )
    assert status.commands_sent >= len(poses) > 20


@pytest.mark.parametrize("fault", ["nan", "width", "names"])
def test_a_broken_chunk_stops_the_motion_and_is_counted(mock_robot, control, fault):
    engaged(mock_robot)
    # On a busy machine a command from before this test may still be on its way.
    start_ns = mock_robot.send_chunk([0.3, 0.3, 0.3, 0.3, 0.9, 0.9, 0.9, 0.9])

    def commanded_x():
        return [pose[0] for stamp, pose, _ in mock_robot.targets if stamp >= start_ns]

    mock_robot.wait(commanded_x, "the first command")
    before = counts(mock_robot.statuses[-1])
    bad = np.tile([*mock_robot.pose, 0.5], (4, 1))
    if fault == "nan":
        bad[2, 1] = np.nan
        mock_robot.send_chunk(bad, sequence=1)
        code = "chunk_not_finite"
    elif fault == "width":
        mock_robot.send_chunk(bad[:, :7], sequence=1)
        code = "chunk_unreadable"
    else:
        mock_robot.send_chunk(bad, sequence=1, names=tuple("abcdefgh"))
        code = "chunk_names"
    status = mock_robot.wait_status(lambda s: counts(s).get(code, 0) > before.get(code, 0), code)
    assert counts(status)[code] == before.get(code, 0) + 1
    status = mock_robot.wait_status(lambda s: s.reason == "no_chunk", "no plan any more")
    mock_robot.wait_ticks(6)
    assert commanded_x() == pytest.approx([0.3] * len(commanded_x()), abs=1e-6)


@pytest.mark.parametrize("silent", ["front", "joints", "ee_pose"])
def test_stale_input_holds_within_the_bound_and_old_rows_never_resume(mock_robot, control, silent):
    engaged(mock_robot)
    mock_robot.send_chunk([0.30 + 0.003 * k for k in range(1, 12)])
    moved_to(mock_robot, 0.305, 0.003)
    mock_robot.silent.add(silent)
    silent_ns = mock_robot.now_ns()
    status = mock_robot.wait_status(lambda s: s.reason.startswith("stale_"), "stale")
    assert status.level == ControlStatus.LEVEL_HOLD
    assert status.queued_rows == 0
    mock_robot.silent.clear()
    status = mock_robot.wait_status(lambda s: s.reason == "no_chunk", "fresh again, but idle")
    mock_robot.wait_ticks()
    last_x = mock_robot.targets[-1][1][0]
    late = [pose[0] for stamp, pose, _ in mock_robot.targets if stamp > silent_ns + 0.5e9]
    assert all(x == last_x for x in late)  # at most the held command
    assert last_x < 0.33
    assert counts(status)


def test_when_chunks_stop_the_arm_holds_at_the_last_row(mock_robot, control):
    engaged(mock_robot)
    obs_ns = mock_robot.send_chunk([0.303, 0.306, 0.309])
    mock_robot.wait_status(
        lambda s: s.engaged and s.reason == "no_chunk" and s.commands_sent, "held"
    )
    mock_robot.wait_stamp(obs_ns + int(1.2e9))
    moving = [b[0] for a, b in pairwise(mock_robot.targets) if (a[1] != b[1]).any()]
    assert moving[-1] <= obs_ns + int((0.3 + HOLD_BOUND_S) * 1e9)
    assert mock_robot.targets[-1][1][0] == pytest.approx(0.309, abs=0.001)
    # What stood repeats for a moment and then the wire is silent.
    mock_robot.wait_ticks()
    assert mock_robot.commanded_since(obs_ns + int(1.2e9)) == []


def test_stop_latches_until_reset(mock_robot, control):
    engaged(mock_robot)
    mock_robot.set_in_motion([0.30 + 0.002 * k for k in range(1, 12)], 3)
    assert mock_robot.call(Trigger, "/control/stop").success
    status = mock_robot.wait_status(lambda s: s.level == ControlStatus.LEVEL_STOP, "STOP")
    assert (status.reason, status.engaged) == ("operator_stop", False)
    stopped_ns = mock_robot.now_ns()  # this machine has one clock
    refused = engage(mock_robot)
    assert not refused.success
    assert "reset" in refused.message
    mock_robot.send_chunk([0.4] * 10, sequence=1)
    mock_robot.wait_ticks()
    assert mock_robot.statuses[-1].level == ControlStatus.LEVEL_STOP
    assert mock_robot.commanded_since(stopped_ns) == []
    assert mock_robot.call(Trigger, "/control/reset").success
    mock_robot.wait_status(lambda s: s.reason == "disengaged", "disengaged")
    engaged(mock_robot)
    assert not mock_robot.call(Trigger, "/control/reset").success  # only while not engaged
    x = mock_robot.pose[0]
    mock_robot.send_chunk([x + 0.004] * 4)
    moved_to(mock_robot, x + 0.004)


@pytest.fixture
def speaker(mock_robot):
    """Publishes words that the control node hears."""
    words = mock_robot.create_publisher(String, "instruction", qos.WORDS)
    mock_robot.wait(words.get_subscription_count, "who listens to instructions")
    yield words
    mock_robot.destroy_publisher(words)


@pytest.mark.parametrize("text", ["stop", "please STOP it now!", "停止"])
def test_a_word_stops_without_any_task_node(mock_robot, control, speaker, text):
    engaged(mock_robot)
    mock_robot.set_in_motion([0.30 + 0.002 * k for k in range(1, 12)], 3)
    speaker.publish(String(data=text))
    status = mock_robot.wait_status(lambda s: s.level == ControlStatus.LEVEL_STOP, "STOP")
    assert (status.reason, status.engaged) == ("operator_stop", False)
    assert text in status.detail
    assert not engage(mock_robot).success


def test_a_milder_word_holds_and_no_chunk_is_taken_any_more(mock_robot, control, speaker):
    engaged(mock_robot)
    mock_robot.set_in_motion([0.30 + 0.002 * k for k in range(1, 12)], 3)
    speaker.publish(String(data="cancel that"))
    mock_robot.wait_status(lambda s: s.reason == "no_chunk", "held")
    mock_robot.wait_ticks()
    assert mock_robot.targets[-1][1][0] < 0.32
    mock_robot.send_chunk([0.34] * 10, sequence=1)
    status = mock_robot.wait_status(lambda s: "chunk_ended" in counts(s), "the chunk refused")
    assert status.engaged
    mock_robot.wait_ticks()
    assert mock_robot.targets[-1][1][0] < 0.32


def test_engage_is_refused_with_a_sentence_while_the_robot_is_not_heard(mock_robot, control):
    mock_robot.wait_status(lambda s: 0 <= s.joint_state_age < 0.1, "fresh joint states")
    mock_robot.silent.update({"joints", "wrist"})
    mock_robot.wait_status(lambda s: s.joint_state_age > 0.4, "silence")
    response = engage(mock_robot)
    assert not response.success
    assert "joint_states" in response.message
    assert "wrist/image_raw" in response.message
    assert not mock_robot.statuses[-1].engaged


def test_disengage_forgets_the_plan(mock_robot, control):
    engaged(mock_robot)
    mock_robot.set_in_motion([0.30 + 0.002 * k for k in range(1, 12)], 3)
    assert engage(mock_robot, False).success
    disengaged_ns = mock_robot.now_ns()  # this machine has one clock
    mock_robot.wait_stamp(disengaged_ns)
    status = mock_robot.statuses[-1]
    assert (status.engaged, status.reason, status.queued_rows) == (False, "disengaged", 0)
    engaged(mock_robot)
    mock_robot.wait_ticks()
    assert mock_robot.commanded_since(disengaged_ns) == []


def end(robot, control, how):
    """The control node is deactivated, or its process ends by signals; at once, see will_end()."""
    if how == "deactivate":
        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
        assert robot.call(ChangeState, "/control/change_state", request).success
        return
    for number in how:
        control.send_signal(number)
    assert control.wait(10) == 0


def will_end(robot, how):
    """What the end needs is found before the robot moves: else its way is over meanwhile."""
    if how == "deactivate":
        robot.client(ChangeState, "/control/change_state")


def sentinel(robot, stamped):
    """A pose that somebody else sends is heard: so is all that the control node sent before."""
    marker = robot.create_publisher(PoseStamped, "target_pose", 10)
    mark = stamped(robot.pose, "sentinel")
    deadline_s = time.monotonic() + 10
    while not any(h.frame_id == "sentinel" for _, _, h in robot.targets):
        assert time.monotonic() < deadline_s
        marker.publish(mark)  # until the new publisher has been matched
        with robot.heard:
            robot.heard.wait(0.05)
    robot.destroy_publisher(marker)


ENDS = ["deactivate", [signal.SIGTERM], [signal.SIGINT] * 2]


@pytest.mark.parametrize("how", ENDS)
def test_no_position_goes_out_at_the_end(mock_robot, control, shared_nodes, stamped, how):
    """The controller has its last setpoint; whatever else went out would be motion."""
    will_end(mock_robot, how)
    engaged(mock_robot)
    mock_robot.set_in_motion([0.30 + 0.004 * k for k in range(1, 12)], 10)
    before_ns = mock_robot.now_ns()
    end(mock_robot, control, how)
    sentinel(mock_robot, stamped)
    commands = [t for t in mock_robot.targets if t[2].frame_id == "base_link"]
    # Each of them is of a tick of its own, and lies further along the way: none is a repetition.
    assert all(b[1][0] > a[1][0] for a, b in pairwise(commands[-5:]))
    assert all(b[0] - a[0] > 5_000_000 for a, b in pairwise(commands[-5:]))
    assert commands[-1][0] - before_ns < 1_000_000_000
    assert mock_robot.statuses[-1].reason == "inactive"
    shared_nodes.end()


@pytest.mark.parametrize("first", ["stop", "disengage"])
@pytest.mark.parametrize("how", ENDS[:2])
def test_an_arm_that_was_moved_by_hand_after_a_stop_stays_when_the_node_ends(
    mock_robot, control, shared_nodes, stamped, first, how
):
    engaged(mock_robot)
    mock_robot.set_in_motion([0.30 + 0.004 * k for k in range(1, 12)], 10)
    if first == "stop":
        assert mock_robot.call(Trigger, "/control/stop").success
        mock_robot.wait_status(lambda s: s.level == ControlStatus.LEVEL_STOP, "STOP")
    else:
        assert engage(mock_robot, False).success
        mock_robot.wait_status(lambda s: s.reason == "disengaged", "disengaged")
    mock_robot.wait_ticks(1)
    mock_robot.clear()
    hand = mock_robot.pose + np.array([0.1, 0.25, 0.05, 0.0, 0.0, 0.0, 0.0])
    mock_robot.pose = hand
    mock_robot.wait_ticks(1)
    end(mock_robot, control, how)
    sentinel(mock_robot, stamped)
    assert {h.frame_id for _, _, h in mock_robot.targets} == {"sentinel"}, "must not move"
    assert mock_robot.grippers == [], "must not move"
    assert (mock_robot.pose == hand).all()
    shared_nodes.end()


def test_nothing_was_sent_so_nothing_is_sent_on_the_way_out(mock_robot, control):
    engaged(mock_robot)
    control.send_signal(signal.SIGTERM)
    assert control.wait(10) == 0
    mock_robot.wait(lambda: mock_robot.statuses[-1].reason == "inactive", "the last status")
    assert mock_robot.targets == [], "must not move"


def test_the_control_process_goes_first_where_that_is_permitted(mock_robot, control):
    asked = "from vla_policy.ros.process.real_time import set_fifo_priority; print(set_fifo_priority(1))"
    said = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True
    )
    permitted = said.stdout.strip() == "None"
    threads = [int(t) for t in os.listdir(f"/proc/{control.pid}/task")]
    first = {os.sched_getscheduler(thread) == os.SCHED_FIFO for thread in threads}
    assert first == {permitted}


def test_no_torch_in_the_control_process(mock_robot, control):
    with open(f"/proc/{control.pid}/maps") as maps:
        loaded = maps.read()
    assert "rclpy" in loaded
    assert "torch" not in loaded


def test_a_robot_without_a_limit_is_refused_with_a_sentence(
    mock_robot, start_node, shared_nodes, tmp_path
):
    text = (config_dir() / "embodiments" / "vx300s.yaml").read_text()
    file = tmp_path / "unlimited.yaml"
    file.write_text(text.replace("    start_jump_rad: 0.3\n", ""))
    shared_nodes.end()
    process = start_node("control_node", embodiment=file)
    mock_robot.wait(lambda: len(mock_robot.statuses) > 2, "statuses")
    status = mock_robot.statuses[-1]
    assert (status.reason, status.engaged) == ("inactive", False)
    assert "limits.arm.start_jump_rad" in status.detail
    assert process.poll() is None


def test_a_robot_commanded_by_its_joints(mock_robot, start_node, shared_nodes):
    shared_nodes.end()
    robot = load_embodiment(JOINT_ROBOT)
    arm = []

    def on_arm(msg):
        with mock_robot.heard:
            arm.append(list(msg.data))
            mock_robot.heard.notify_all()

    mock_robot.create_subscription(Float64MultiArray, "arm_controller/commands", on_arm, 100)
    start_node("control_node", embodiment=JOINT_ROBOT, stand_in="mock_robot")
    mock_robot.wait_status(lambda s: s.engaged, "engaged by itself")
    stands = [0.0, -0.5, 0.5, 0.0, 0.5, 0.0]
    rows = [[0.01 * (k + 1), *stands[1:], 0.5] for k in range(5)]
    mock_robot.send_chunk(rows, names=robot.action_names)
    mock_robot.wait(lambda: arm and arm[-1][0] > 0.045, "the waist at the end of the rows")
    assert all(len(values) == 6 for values in arm)
    assert max(b[0] - a[0] for a, b in pairwise(arm)) <= 1.0 * 0.04 + 1e-9
    assert mock_robot.targets == [], "must not move"
    assert mock_robot.grippers
