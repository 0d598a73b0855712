"""Plays a recorded episode on the running robot: takes over, sends its rows as a teleoperation device would, and pauses at the end."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

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
SILENT_S = (
    3.0  # without a status, which comes five times a second; then the control node counts as lost
)
STOOD_S = 1.0  # after the clock last stood, a status may still report it
STALL_S = 0.3  # a clock that shows the same time for so long stands


@dataclass(frozen=True, slots=True)
class Played:
    """complete: every row was executed. message: why not, or how long it took."""

    complete: bool
    message: str


@dataclass(frozen=True, slots=True)
class Following:
    """What is known of the robot while an episode is played, on time.monotonic.

    status: the newest, received at received_s. followed: it once executed a chunk of the episode. stood_s: when the
    clock last stood.
    """

    received_s: float
    status: ControlStatus | None = None
    followed: bool = False
    stood_s: float = -float("inf")


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
    following = Following(moved_s)
    frame_id = replay.robot.base_frame
    while (chunk := chunk_at(replay, start_ns, now_ns := _now_ns(client), sequence)) is not None:
        if sequence == 0 or s_from_ns(now_ns - sent_ns) >= EVERY_S:
            chunks.publish(convert.chunk_to_msg(chunk, frame_id=frame_id))  # type: ignore[attr-defined]
            sequence, sent_ns = sequence + 1, now_ns
        now_s, done_s = time.monotonic(), s_from_ns(now_ns - start_ns)
        if now_ns != before_ns:
            before_ns, moved_s = now_ns, now_s
        elif now_s - moved_s > PATIENCE_S:
            return Played(
                False, f"the clock stood still for {PATIENCE_S:g} s after {done_s:.1f} s"
            )
        elif now_s - moved_s > STALL_S:
            following = replace(following, stood_s=now_s)
        following = received(following, client.status, now_s)
        if sequence > 3 and (why := given_up(following, now_s, done_s)) is not None:
            return Played(False, why)
        time.sleep(POLL_S)
    if not following.followed:
        return Played(False, "the robot followed nothing of it")
    return Played(True, f"played {replay.seconds:.1f} s")


def received(following: Following, status: ControlStatus | None, now_s: float) -> Following:
    """following with the newest status, which a message replaces as an object."""
    if status is None or status is following.status:
        return following
    moves = status.mode == TELEOPERATED and status.engaged and status.level < Level.HOLD
    followed = following.followed or moves
    return replace(following, received_s=now_s, status=status, followed=followed)


def given_up(following: Following, now_s: float, done_s: float) -> str | None:
    """Why the episode is not followed any more after done_s, as text; None if it is.

    While a simulation's clock stands the episode pauses; before its first accepted chunk there is
    no plan.
    """
    status = following.status
    if now_s - following.received_s > SILENT_S:
        return f"the control node is silent for {SILENT_S:g} s after {done_s:.1f} s"
    if status is None:
        return None
    if status.mode != TELEOPERATED:
        return f"somebody changed the mode to {status.mode} after {done_s:.1f} s"
    begins = status.reason == "no_teleop" and not following.followed
    stands = status.reason == "clock_stopped" and now_s - following.stood_s < STOOD_S
    if status.level >= Level.HOLD and not (begins or stands):
        return f"the robot holds after {done_s:.1f} s: {status.detail}"
    if not status.engaged:
        return f"somebody disengaged the robot after {done_s:.1f} s"
    return None


def _now_ns(client: Client) -> int:
    now_ns: int = client.node.get_clock().now().nanoseconds
    return now_ns
