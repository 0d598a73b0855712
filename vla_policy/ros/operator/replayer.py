"""Plays a recorded episode on the running robot: takes over, sends its rows as a teleoperation device would, and pauses at the end."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rclpy.parameter import Parameter

from vla_policy.data.replay import EVERY_S, Replay, chunk_at, too_far
from vla_policy.msg import ActionChunk as ActionChunkMsg
from vla_policy.msg import ControlStatus
from vla_policy.ros.inputs.measured_action import MeasuredAction
from vla_policy.ros.messages import convert
from vla_policy.ros.operator.client import Client
from vla_policy.ros.operator.running_robot import RunningRobot
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.runtime.control_mode import TELEOPERATED
from vla_policy.timing import s_from_ns
from vla_policy.types import Level

FOUND_S = 5.0
POLL_S = 0.02
PATIENCE_S = 30.0  # for a simulation whose clock stands
STANDING = (
    "no_teleop",
    "clock_stopped",
)  # before the first chunk is taken; a simulation that stalls


@dataclass(frozen=True, slots=True)
class Played:
    """complete: every row was executed. message: why not, or how long it took."""

    complete: bool
    message: str


def play(client: Client, robot: RunningRobot, replay: Replay) -> Played:
    """Raises ValueError where the robot is too far from the episode's begin, or cannot be taken over."""
    node = client.node
    node.set_parameters([Parameter("use_sim_time", value=robot.use_sim_time)])
    measured = MeasuredAction(node, replay.robot, ChangeLogger(node.get_logger()))
    chunks = node.create_publisher(ActionChunkMsg, "teleop_chunk", qos.COMMAND)
    end_s = time.monotonic() + FOUND_S
    while (here := measured.action(replay.layout, _now_ns(client))) is None:
        if time.monotonic() > end_s:
            raise TimeoutError(f"where the robot is was not measured within {FOUND_S:g} s")
        time.sleep(POLL_S)
    if (far := too_far(replay, here)) is not None:
        raise ValueError(far)
    while chunks.get_subscription_count() == 0:
        if time.monotonic() > end_s:
            raise TimeoutError(f"no control node hears teleop_chunk within {FOUND_S:g} s")
        time.sleep(POLL_S)
    client.press("take_over")
    try:
        return _played(client, replay, chunks)
    finally:
        client.press("pause")


def _played(client: Client, replay: Replay, chunks: object) -> Played:
    start_ns, sequence, sent_ns = _now_ns(client), 0, 0
    before_ns, moved_s = start_ns, time.monotonic()
    frame_id = replay.robot.base_frame
    while (chunk := chunk_at(replay, start_ns, now_ns := _now_ns(client), sequence)) is not None:
        if sequence == 0 or s_from_ns(now_ns - sent_ns) >= EVERY_S:
            chunks.publish(convert.chunk_to_msg(chunk, frame_id=frame_id))  # type: ignore[attr-defined]
            sequence, sent_ns = sequence + 1, now_ns
        status, done_s = client.status, s_from_ns(now_ns - start_ns)
        if status is not None and sequence > 3 and (why := given_up(status, done_s)) is not None:
            return Played(False, why)
        if now_ns != before_ns:
            before_ns, moved_s = now_ns, time.monotonic()
        elif time.monotonic() - moved_s > PATIENCE_S:
            return Played(
                False, f"the clock stood still for {PATIENCE_S:g} s after {done_s:.1f} s"
            )
        time.sleep(POLL_S)
    return Played(True, f"played {replay.seconds:.1f} s")


def given_up(status: ControlStatus, done_s: float) -> str | None:
    """Why the episode is not followed any more after done_s, in words; None if it is.

    While a simulation's clock stands the episode stands, too.
    """
    if status.mode != TELEOPERATED:
        return f"somebody changed the mode to {status.mode} after {done_s:.1f} s"
    if status.level >= Level.HOLD and status.reason not in STANDING:
        return f"the robot holds after {done_s:.1f} s: {status.detail}"
    return None


def _now_ns(client: Client) -> int:
    now_ns: int = client.node.get_clock().now().nanoseconds
    return now_ns
