"""Status and feedback of a recording session, as messages."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from vla_policy.action import RecordEpisode
from vla_policy.data.recording import Phase
from vla_policy.data.recording_session import Moment
from vla_policy.data.stream_meter import StreamReport
from vla_policy.msg import RecorderStatus

NEVER = -1.0


def status_msg(moment: Moment, *, stamp: Time, folder: str) -> RecorderStatus:
    """The status of the recorder."""
    verdict, written, streams = moment.verdict, moment.written, moment.streams
    left_s = moment.disk_left_s
    return RecorderStatus(
        header=Header(stamp=stamp),
        phase=int(moment.phase),
        folder=folder,
        task=moment.task,
        episode=moment.episode,
        saved=moment.episode,
        missing=list(moment.missing),
        elapsed=moment.take_s,
        frames=written.frames,
        invalid_frames=written.stale + written.idle,
        lost=moment.lost,
        streams=[stream.need.topic for stream in streams],
        rates=[stream.hz for stream in streams],
        lags=[_lag(stream) for stream in streams],
        gaps=[0 if moment.phase is Phase.IDLE else len(stream.gaps) for stream in streams],
        disk_free=moment.disk_free,
        disk_left=NEVER if left_s is None else left_s,
        waiting=moment.waiting + written.waiting,
        keep=verdict is not None and verdict.keep,
        verdict=[] if verdict is None else list(verdict.sentences),
        message=moment.message,
    )


def feedback_msg(moment: Moment) -> RecordEpisode.Feedback:
    """The feedback of a take that is open."""
    streams = moment.streams
    return RecordEpisode.Feedback(
        elapsed=moment.take_s,
        frames=moment.written.frames,
        streams=[stream.need.topic for stream in streams],
        rates=[stream.hz for stream in streams],
        lags=[_lag(stream) for stream in streams],
        disk_free=moment.disk_free,
        deciding=moment.phase is Phase.DECIDING,
    )


def _lag(stream: StreamReport) -> float:
    return NEVER if stream.lag_s is None else stream.lag_s
