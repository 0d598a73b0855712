"""Taking over and handing back at random moments, while the policy and the person both move: at once, and without a jump.

The policy goes to +y with an open gripper, the person to -y with a closed one. A gripper is not faded over, so the opening
that is proposed tells exactly whose it is, and the one that is sent never goes towards that of the other.
A recorder writes all of it as one episode, whose flags must be those of the ticks that the test heard.
`benchmarks/takeovers.py` runs this a hundred times and keeps the figures.
"""

import bisect
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from ros_process import waited  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402
from vla_policy.msg import ActionChunk as ActionChunkMsg  # noqa: E402
from vla_policy.msg import ControlCommand  # noqa: E402
from vla_policy.srv import SaveEpisode  # noqa: E402

from vla_policy.data.lerobot.reader import open_set  # noqa: E402
from vla_policy.ros.messages import convert  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402
from vla_policy.types import ActionChunk  # noqa: E402

COUNT = int(os.environ.get("TAKEOVERS", "10"))
STEP_M, ROWS = 0.006, 6
OPENING = {"policy": 0.8, "teleop": 0.2}
SOURCE = {"autonomous": "policy", "teleoperated": "teleop"}


class Sources:
    """A policy and a person, each of whom sends chunks ten times a second, whoever is in control."""

    def __init__(self, robot):
        self.robot, self.sequence, self.ticks = robot, 0, []
        self.person = robot.create_publisher(ActionChunkMsg, "teleop_chunk", qos.COMMAND)
        self.listener = robot.create_subscription(
            ControlCommand, "control_command", self._on_command, qos.TICKS
        )
        self.timer = robot.create_timer(0.1, self._send)

    def _send(self):
        self.sequence += 1
        for publisher, way, source in (
            (self.robot.chunks, 1.0, "policy"),
            (self.person, -1.0, "teleop"),
        ):
            rows = np.tile([*self.robot.pose, OPENING[source]], (ROWS, 1))
            room = max(0.0, 0.35 - way * rows[0, 1])
            rows[:, 1] += way * np.minimum(STEP_M, room / ROWS) * np.arange(1, ROWS + 1)
            names, now_ns = self.robot.robot.action_names, self.robot.now_ns()
            chunk = ActionChunk(rows, names, now_ns, 100_000_000, self.sequence, "")
            publisher.publish(convert.chunk_to_msg(chunk, frame_id="base_link"))

    def _on_command(self, msg):
        sent = np.array(msg.sent) if len(msg.sent) else None
        proposed = msg.proposed[7] if len(msg.proposed) else None
        stamp_ns = convert.ns_from_stamp(msg.header.stamp)
        with self.robot.heard:
            self.ticks.append((stamp_ns, msg.mode, msg.control_source, proposed, sent))
            self.robot.heard.notify_all()

    def close(self):
        self.robot.destroy_timer(self.timer)
        self.robot.destroy_subscription(self.listener)
        self.robot.destroy_publisher(self.person)


@pytest.fixture
def folder(tmp_path, start_node):
    """Of a recorder."""
    start_node("recorder_node", folder=tmp_path / "rec", least_free_gb=0.0, max_duration_s=3600.0)
    return tmp_path / "rec"


@pytest.fixture
def sources(mock_robot, start_node):
    start_node("control_node")
    both = Sources(mock_robot)
    mock_robot.wait_status(lambda s: 0 <= s.joint_state_age < 0.1, "fresh joint states")
    for _ in range(20):
        response = mock_robot.call(SetBool, "/control/engage", SetBool.Request(data=True))
        if response.success:
            break
        mock_robot.wait_ticks(1)
    assert response.success, response.message
    mock_robot.wait(lambda: mock_robot.targets, "the policy moves the arm")
    yield both
    both.close()


def pressed(robot, buttons, mode):
    """(before, after) the call of the button that leads to mode, node clock."""
    before_ns = robot.now_ns()
    assert waited(buttons[mode].call_async(Trigger.Request()), 30.0).success
    return before_ns, robot.now_ns()


def recorded(robot, folder):
    """begin a take; what is called afterwards ends it, keeps it and gives its set."""
    parameters = SetParameters.Request(
        parameters=[Parameter("task", value="go").to_parameter_msg()]
    )
    robot.call(SetParameters, "/recorder/set_parameters", parameters)
    for _ in range(100):
        response = robot.call(Trigger, "/recorder/start")
        if response.success:
            break
        robot.wait_ticks(1)
    assert response.success, response.message

    def keep():
        robot.call(Trigger, "/recorder/end")
        response = robot.call(SaveEpisode, "/recorder/save", SaveEpisode.Request())
        assert response.success, response.message
        return open_set(folder / "set")

    return keep


def judged_flags(found, ticks):
    """How many frames of an episode have other flags than the last tick that they may know."""
    step_ns, wrong = 1_000_000_000 // found.fps, {"wrong_flag": 0, "wrong_recorded_proposal": 0}
    stamps = [stamp_ns for stamp_ns, *_ in ticks]
    for frame in found.episode(0).frames:
        tick = bisect.bisect_right(stamps, frame.stamp_ns + step_ns) - 1
        _, mode, source, proposed, _ = ticks[tick]
        wrong["wrong_flag"] += frame.control_source != source
        wrong["wrong_flag"] += frame.intervention != (mode == "teleoperated")
        theirs = np.nan if proposed is None else proposed
        same = np.isclose(frame.proposed[7], theirs, atol=1e-6, equal_nan=True)
        wrong["wrong_recorded_proposal"] += int(not same)
    return {**wrong, "frames": len(found)}


def test_no_step_is_too_large_and_no_command_is_of_who_is_not_in_control(
    mock_robot, sources, folder
):
    names = {"teleoperated": "/control/take_over", "autonomous": "/control/hand_back"}
    buttons = {m: mock_robot.create_client(Trigger, name) for m, name in names.items()}
    assert all(client.wait_for_service(30.0) for client in buttons.values())
    keep = recorded(mock_robot, folder)
    rng, changes = random.Random(COUNT), [(0, 0, "autonomous")]
    for _ in range(COUNT):
        for mode in ("teleoperated", "autonomous"):
            mock_robot.wait_stamp(mock_robot.now_ns() + int(rng.uniform(0.15, 0.7) * 1e9))
            changes.append((*pressed(mock_robot, buttons, mode), mode))
    mock_robot.wait_stamp(mock_robot.now_ns() + 500_000_000)
    found = keep()
    figures = judged(mock_robot.robot, sources.ticks, changes)
    figures |= judged_flags(found, sources.ticks)
    status = mock_robot.statuses[-1]
    counts = dict(zip(status.intervention_names, status.intervention_counts, strict=True))
    figures |= {"dropped_chunks": int(counts["chunk_mode"]), "changes": len(changes) - 1}
    if out := os.environ.get("TAKEOVERS_OUT"):
        Path(out).write_text(json.dumps(figures, indent=1) + "\n")
    wrong = {key: count for key, count in figures.items() if key.startswith("wrong_") and count}
    assert not wrong, f"must not move: {wrong}"
    assert figures["largest_step_share"] <= 1.0 + 1e-6, "must not move"
    assert figures["largest_speeding_up_share"] <= 1.0 + 1e-6, "must not move"
    assert figures["frames"] > 3 * COUNT
    assert {f.intervention for f in found.episode(0).frames} == {True, False}
    assert figures["ticks_of"]["policy"] > 10 and figures["ticks_of"]["teleop"] > 10


def judged(robot, ticks, changes):
    """The figures of a run. Shares: of what the robot's limits allow in the time between two commands."""
    limits, period_s = robot.limits.groups["arm"], 1.0 / robot.rates.command_hz
    wrong = {"wrong_mode": 0, "wrong_source": 0, "wrong_proposal": 0, "wrong_way": 0}
    ticks_of, step, speeding, before, speed = (
        {"policy": 0, "teleop": 0, "": 0},
        0.0,
        0.0,
        None,
        0.0,
    )
    held_s = []
    for stamp_ns, mode, source, proposed, sent in ticks:
        begun = [c for c in changes if c[0] <= stamp_ns]
        sure = begun[-1][1] < stamp_ns  # the answer had come when this tick began
        allowed = {begun[-1][2]} if sure else {begun[-1][2], begun[-2][2]}
        wrong["wrong_mode"] += mode not in allowed
        wrong["wrong_source"] += source not in ("", SOURCE[mode])
        wrong["wrong_proposal"] += proposed != (OPENING[source] if source else None)
        ticks_of[source] += 1
        if sent is None:
            continue
        if before is not None:
            dt_s = max(1e-9, (stamp_ns - before[0]) * 1e-9)
            way = sent[:3] - before[1][:3]
            length = float(np.linalg.norm(way))
            there = OPENING[SOURCE[mode]]
            away = abs(sent[7] - there) > abs(before[1][7] - there) + 1e-9
            wrong["wrong_way"] += int(away)
            # A command may make up for one tick that came late; the guard knows the time since the last.
            step = max(step, length / (limits.linear_speed_m_s * max(dt_s, period_s)))
            gain = length / dt_s - speed
            room = limits.linear_acceleration_m_s2 * max(dt_s, period_s)
            speeding = max(speeding, gain / room)
            speed = length / dt_s
            if source and before[2] != source:
                held_s.append(stamp_ns - max(c[1] for c in changes if c[1] <= stamp_ns))
        before = (stamp_ns, sent, source or before[2] if before else source)
    return {
        **wrong,
        "ticks": len(ticks),
        "ticks_of": ticks_of,
        "largest_step_share": step,
        "largest_speeding_up_share": speeding,
        "first_command_after_button_ms": [
            round(float(v) * 1e-6, 1) for v in np.percentile(held_s, (50, 90, 100))
        ],
    }
