"""Keep a take or discard it: its faults, each in one sentence, right after it ended."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vla_policy.data.stream_meter import StreamReport
from vla_policy.types import Reason

NOT_LOOKED_AT = (
    "whether the gripper stays in view was not looked at: how the cameras see is not known"
)

OUT_OF_VIEW = {
    "out_of_view": "the tool",
    "target_out_of_view": "the object of the task",
    "pointed_out_of_view": "the place where the policy sees the object of the task",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits within which a take is kept.

    dropped:     share of a stream's messages that the transport may lose.
    slow:        share of its rate that a stream must keep.
    gap_shares:  share of the take that pauses may last in total.
    stall_s:     longest time without motion of the robot.
    held, slowed: share of the ticks with a plan in which the guard may hold or slow it.
    shortest, longest: of the median length of at least `others` takes of the same task.
    out_of_view: share of frames; reported from a fifth of it on, as an arm that lifts may leave an
        image for a while.
    """

    dropped: float = 0.01
    slow: float = 0.8
    stale: float = 0.02
    stall_s: float = 4.0
    held: float = 0.05
    slowed: float = 0.6
    shortest: float = 0.4
    longest: float = 2.5
    others: int = 3
    fewest_frames: int = 5
    out_of_view: float = 0.5


USUAL = Bounds()


@dataclass(frozen=True, slots=True)
class TakeFacts:
    """Measurements of a take.

    stale_frames: with a stream older than the robot's file allows.
    idle_frames: before the first command.  lost: messages that could not be kept.
    stalls:  (begin s, seconds) of each time without motion.  moved: whether the robot ever moved.
    ticks:   of the control node with a plan; held, slowed: of these.
    reasons: code of a check -> ticks in which it acted.
    others_s: lengths of the saved takes of the same task.
    out_of_view: camera -> share of frames with the tool outside its image; None: unknown.
    target_out_of_view: the same of the object of the task; None: unknown.
    pointed_out_of_view: the same of the place that a policy takes for it; None: unknown.
    behind:  why its videos are made from its bag later; '' if they were encoded meanwhile.
    ended_by: why the take could not continue; None: a person or its time limit ended it.
    """

    seconds: float
    frames: int
    stale_frames: int = 0
    idle_frames: int = 0
    lost: int = 0
    streams: tuple[StreamReport, ...] = ()
    stalls: tuple[tuple[float, float], ...] = ()
    moved: bool = True
    ticks: int = 0
    held: int = 0
    slowed: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    others_s: tuple[float, ...] = ()
    out_of_view: Mapping[str, float] | None = None
    target_out_of_view: Mapping[str, float] | None = None
    pointed_out_of_view: Mapping[str, float] | None = None
    behind: str = ""
    ended_by: Reason | None = None


@dataclass(frozen=True, slots=True)
class TakeVerdict:
    """faults: why to discard it; without any, keep it. notes: further remarks."""

    faults: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def keep(self) -> bool:
        return not self.faults

    @property
    def sentences(self) -> tuple[str, ...]:
        """Faults, then notes, for a person."""
        return (*(fault.detail for fault in self.faults), *self.notes)


def judge(facts: TakeFacts, bounds: Bounds = USUAL) -> TakeVerdict:
    """Whether to keep the take."""
    faults = [] if facts.ended_by is None else [facts.ended_by]
    faults += [*_lost(facts, bounds), *_of_streams(facts, bounds), *_of_motion(facts, bounds)]
    faults += [*_of_guard(facts, bounds), *_of_length(facts, bounds), *_of_view(facts, bounds)]
    return TakeVerdict(tuple(faults), _notes(facts, bounds))


def _lost(facts: TakeFacts, bounds: Bounds) -> list[Reason]:
    found = []
    if facts.lost:
        found.append(
            Reason("lost", f"{facts.lost} messages came faster than they could be written")
        )
    if facts.frames < bounds.fewest_frames:
        found.append(Reason("no_frames", f"only {facts.frames} frames are complete"))
    if facts.frames and facts.stale_frames > bounds.stale * facts.frames:
        found.append(
            Reason(
                "stale_frames",
                f"{facts.stale_frames} of {facts.frames} frames lack a fresh sample of every stream",
            )
        )
    return found


def _of_streams(facts: TakeFacts, bounds: Bounds) -> list[Reason]:
    found = []
    for stream in facts.streams:
        need = stream.need
        if not need.required:  # several publishers share such a topic, with pauses at any time
            continue
        if stream.backwards:
            found.append(
                Reason(
                    "stamps_back",
                    f"{need.topic}: {stream.backwards} stamps lie before earlier ones",
                )
            )
        if stream.dropped > bounds.dropped * (stream.count + stream.dropped):
            found.append(Reason("dropped", _dropped(stream)))
        if stream.gaps:
            found.append(
                Reason(
                    "gaps",
                    f"{need.topic}: {_count(stream.gaps, 'gap')}, the longest {max(stream.gaps):.2f} s; "
                    f"{need.max_age_s:g} s is allowed",
                )
            )
        before_hz = need.expected_hz or stream.before_hz
        if stream.count and stream.mean_hz < bounds.slow * before_hz:
            whose = "the control loop" if need.expected_hz else need.topic
            found.append(
                Reason(
                    "slow", f"{whose} ran at {stream.mean_hz:.1f} Hz instead of {before_hz:.1f}"
                )
            )
    return found


def _of_motion(facts: TakeFacts, bounds: Bounds) -> list[Reason]:
    if not facts.moved:
        return [Reason("no_motion", "the robot never moved")]
    long = [(at, seconds) for at, seconds in facts.stalls if seconds > bounds.stall_s]
    if not long:
        return []
    at, seconds = max(long, key=lambda stall: stall[1])
    return [Reason("stall", f"the robot stood still for {seconds:.1f} s from {at:.1f} s on")]


def _of_guard(facts: TakeFacts, bounds: Bounds) -> list[Reason]:
    found = []
    most = max(facts.reasons, key=lambda code: facts.reasons[code], default="")
    for what, count, share in (
        ("held", facts.held, bounds.held),
        ("slowed", facts.slowed, bounds.slowed),
    ):
        if facts.ticks and count > share * facts.ticks:
            found.append(
                Reason(
                    f"guard_{what}",
                    f"the guard {what} the robot in {100 * count / facts.ticks:.0f} % of the ticks, mostly for {most}",
                )
            )
    return found


def _of_length(facts: TakeFacts, bounds: Bounds) -> list[Reason]:
    if len(facts.others_s) < bounds.others:
        return []
    usual_s = statistics.median(facts.others_s)
    for code, wrong in (
        ("short", facts.seconds < bounds.shortest * usual_s),
        ("long", facts.seconds > bounds.longest * usual_s),
    ):
        if wrong:
            return [
                Reason(
                    code,
                    f"{facts.seconds:.1f} s is {code} beside the other takes of this task, {usual_s:.1f} s",
                )
            ]
    return []


def _of_view(facts: TakeFacts, bounds: Bounds) -> list[Reason]:
    return [
        Reason(code, _outside(code, camera, share))
        for code, camera, share in _shares(facts)
        if share > bounds.out_of_view
    ]


def _shares(facts: TakeFacts) -> list[tuple[str, str, float]]:
    """(code, camera, share of the frames) of tools and objects outside an image."""
    return [(code, *item) for code in OUT_OF_VIEW for item in (getattr(facts, code) or {}).items()]


def _outside(code: str, camera: str, share: float) -> str:
    return f"{OUT_OF_VIEW[code]} is outside the image of {camera} in {100 * share:.0f} % of the frames"


def _notes(facts: TakeFacts, bounds: Bounds) -> tuple[str, ...]:
    notes = []
    if facts.out_of_view is None:
        notes.append(NOT_LOOKED_AT)
    for code, camera, share in _shares(facts):
        if bounds.out_of_view / 5 < share <= bounds.out_of_view:
            notes.append(_outside(code, camera, share))
    if facts.behind:
        notes.append(f"keeping it takes longer, its videos are made from its bag: {facts.behind}")
    for stream in facts.streams:
        if 0 < stream.dropped <= bounds.dropped * (stream.count + stream.dropped):
            notes.append(_dropped(stream))
    if 0 < len(facts.others_s) < bounds.others:
        notes.append(
            f"its length was not compared: {_count(facts.others_s, 'saved take')} of this task"
        )
    if 0 < facts.stale_frames <= bounds.stale * facts.frames:
        notes.append(f"{facts.stale_frames} of {facts.frames} frames lack a fresh sample")
    if facts.idle_frames:
        notes.append(f"{facts.idle_frames} of {facts.frames} frames come before the first command")
    return tuple(notes)


def _dropped(stream: StreamReport) -> str:
    sent = stream.count + stream.dropped
    return f"{stream.need.topic}: {stream.dropped} of {sent} messages were lost before they came"


def _count(things: Sequence[object], what: str) -> str:
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"
