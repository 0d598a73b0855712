"""Measurements of one stream: its rate, its lag, its pauses and its stamps that go back."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from vla_policy.timing import NS_PER_S, s_from_ns

WINDOW_NS = 2 * NS_PER_S  # over which rate and lag are measured
FEWEST = 3  # arrivals in the window for a rate


@dataclass(frozen=True, slots=True)
class StreamNeed:
    """Requirements of a take on a stream.

    required:    no take begins without it, and one ends when it stops.
    max_age_s:   the greatest age of a sample, from the robot's file; None: any age, as for events.
    expected_hz: the required rate; None: the rate before the take.
    """

    topic: str
    type: str
    required: bool = False
    max_age_s: float | None = None
    expected_hz: float | None = None


@dataclass(frozen=True, slots=True)
class StreamReport:
    """A stream at one moment. Of the take: count, mean_hz, gaps, backwards; of the last 2 s: hz, lag_s.

    hz:        0.0 while no message arrives.  lag_s: median from stamp to arrival; None before the
    first.
    age_s:     since the newest stamp; None before the first.
    before_hz: the rate when the take began.
    gaps:      seconds of each pause between stamps above max_age_s, including the current one.
    backwards: samples whose stamp is before that of an earlier one.
    dropped:   messages lost by the transport.
    """

    need: StreamNeed
    hz: float = 0.0
    lag_s: float | None = None
    age_s: float | None = None
    count: int = 0
    mean_hz: float = 0.0
    before_hz: float = 0.0
    gaps: tuple[float, ...] = ()
    backwards: int = 0
    dropped: int = 0


class StreamMeter:
    """Measures one stream; add() for each message, begin() for each take.

    Times in ns, node clock.
    """

    def __init__(self, need: StreamNeed) -> None:
        self.need = need
        self._max_age_ns = None if need.max_age_s is None else round(need.max_age_s * NS_PER_S)
        self._arrivals: deque[tuple[int, int]] = deque()  # (received, lag)
        self._newest_ns: int | None = None
        self._begin_ns: int | None = None
        self._before_hz = 0.0
        self._gaps: list[float] = []
        self._count = self._backwards = self._dropped = 0

    def add(self, stamp_ns: int, received_ns: int) -> None:
        """Add one message."""
        self._arrivals.append((received_ns, received_ns - stamp_ns))
        self._forget(received_ns)
        newest_ns = self._newest_ns
        if newest_ns is not None and stamp_ns < newest_ns:
            self._backwards += 1
        else:
            gap_ns = self._gap_ns(stamp_ns)
            if gap_ns is not None:
                self._gaps.append(s_from_ns(gap_ns))
            self._newest_ns = stamp_ns
        self._count += 1

    def drop(self, count: int) -> None:
        """Count messages lost by the transport."""
        self._dropped += count

    def begin(self, now_ns: int) -> None:
        """Begin a take: pauses and counts start from zero."""
        # A newly discovered stream has no previous rate.
        known = bool(self._arrivals) and now_ns - self._arrivals[0][0] >= WINDOW_NS // 4
        self._before_hz = self._hz(now_ns) if known else 0.0
        self._begin_ns, self._gaps = now_ns, []
        self._count = self._backwards = self._dropped = 0

    def clear(self) -> None:
        """Forget all times, after the clock jumped: they cannot be compared with now."""
        self._arrivals.clear()
        self._newest_ns = self._begin_ns = None
        self._gaps = []
        self._count = self._backwards = self._dropped = 0

    def report(self, now_ns: int) -> StreamReport:
        """The report at now_ns."""
        self._forget(now_ns)
        lags = sorted(lag for _, lag in self._arrivals)
        open_gap_ns = self._gap_ns(now_ns)
        gaps = self._gaps if open_gap_ns is None else [*self._gaps, s_from_ns(open_gap_ns)]
        since_ns = 0 if self._begin_ns is None else now_ns - self._begin_ns
        return StreamReport(
            need=self.need,
            hz=self._hz(now_ns),
            lag_s=s_from_ns(lags[len(lags) // 2]) if lags else None,
            age_s=None if self._newest_ns is None else s_from_ns(now_ns - self._newest_ns),
            count=self._count,
            mean_hz=self._count * NS_PER_S / since_ns if since_ns > 0 else 0.0,
            before_hz=self._before_hz,
            gaps=tuple(gaps),
            backwards=self._backwards,
            dropped=self._dropped,
        )

    def _gap_ns(self, stamp_ns: int) -> int | None:
        """The pause ending, or still lasting, at stamp_ns, if too long; its part in the take."""
        if self._max_age_ns is None or self._newest_ns is None:
            return None
        since_ns = max(self._newest_ns, self._begin_ns or self._newest_ns)
        return stamp_ns - since_ns if stamp_ns - since_ns > self._max_age_ns else None

    def _hz(self, now_ns: int) -> float:
        """By the stamps, as messages may come in bursts; 0.0 while unknown."""
        self._forget(now_ns)
        stamps = sorted(received - lag for received, lag in self._arrivals)
        if len(stamps) < FEWEST:
            return 0.0
        span_ns = stamps[-1] - stamps[0]
        silent_ns = now_ns - self._arrivals[-1][0]
        if silent_ns * (len(stamps) - 1) > 2 * span_ns:  # longer than usual since the last
            span_ns += silent_ns
        return (len(stamps) - 1) * NS_PER_S / span_ns if span_ns > 0 else 0.0

    def _forget(self, now_ns: int) -> None:
        while self._arrivals and not 0 <= now_ns - self._arrivals[0][0] <= WINDOW_NS:
            self._arrivals.popleft()
