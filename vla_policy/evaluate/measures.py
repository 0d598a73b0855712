"""Measurements of a trial besides its result: chunk times, smoothness, the guard, a film."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from vla_policy.evaluate.smoothness import smoothness
from vla_policy.safety.guard_state import WAITING
from vla_policy.types import Array, Level, Verdict

FILM_NS = 250_000_000  # between two frames
FILM_PX = (200, 150)  # w, h


class Measures:
    """Filled tick by tick while a trial runs, in one process or from the messages of a graph.

    films: whether frames are kept. warm_up: chunks that are not timed; a network's first
    inference is slower.
    """

    def __init__(self, *, films: bool = False, warm_up: int = 0) -> None:
        self.films, self._warm_up = films, warm_up
        self.frames: list[Array] = []
        self._film_ns: int | None = None
        self._chunk_ms: list[float] = []
        self._times_ns: list[int] = []
        self._positions: list[Array] = []
        self._taken_ns: list[int] = []
        self._cpu_ms: list[float] = []
        self._ticks = self._guarded = self._held = 0
        self._reasons: dict[str, int] = {}

    def chunk(self, seconds: float, cpu_s: float | None = None) -> None:
        """A chunk was computed in so much wall time, and in so much time of this process on a processor."""
        if self._warm_up > 0:
            self._warm_up -= 1
            return
        self._chunk_ms.append(round(seconds * 1e3, 2))
        if cpu_s is not None:
            self._cpu_ms.append(round(cpu_s * 1e3, 2))

    def tick(
        self, now_ns: int, position: Array | None, verdict: Verdict | None, *, took: bool
    ) -> None:
        """One command period. position: float64[p] of the tools as last commanded, m; None before.

        verdict: the guard's; what merely waits does not count. took: another chunk is in execution.
        """
        self._ticks += 1
        level = Level.PASS if verdict is None else verdict.level
        acted = []
        if verdict is not None and level is not Level.PASS:
            acted = [reason.code for reason in verdict.reasons if reason.code not in WAITING]
        self._guarded += bool(acted)
        self._held += bool(acted) and level >= Level.HOLD
        for code in acted:
            self._reasons[code] = self._reasons.get(code, 0) + 1
        if took:
            self._taken_ns.append(now_ns)
        if position is not None:
            self._times_ns.append(now_ns)
            self._positions.append(position)

    def film_due(self, now_ns: int) -> bool:
        """Whether the next frame is due."""
        if not self.films or (self._film_ns is not None and now_ns < self._film_ns + FILM_NS):
            return False
        self._film_ns = now_ns
        return True

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; jerk in m/s³, None if there was too little motion."""
        smooth = smoothness(self._times_ns, self._positions, self._taken_ns)
        return {
            "chunk_ms": self._chunk_ms,
            "chunk_cpu_ms": self._cpu_ms,
            "ticks": self._ticks,
            "guarded": self._guarded,
            "held": self._held,
            "guard": self._reasons,
            "chunks": len(self._taken_ns),
            "jerk_rms": _rounded(smooth.rms),
            "jerk_seam": _rounded(smooth.seam_p95),
            "jerk_own": _rounded(smooth.own_p95),
        }


def peak_memory_mb(process: int | str = "self") -> float | None:
    """A process's peak of resident memory, MB; None if the system does not report it."""
    # Not getrusage: a program started by a larger one inherits that one's peak.
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith("VmHWM")]
    return round(int(found[0].split()[1]) * 1024 / 1e6, 1) if found else None


def gpu_memory_mb() -> float | None:
    """Peak of GPU memory of this process's tensors, MB; None if unused."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return round(float(torch.cuda.max_memory_allocated()) / 1e6, 1)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
