"""A server's counters, in Prometheus' format."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(slots=True)
class Histogram:
    """Durations by size. counts: at most as long as each of BUCKETS_S, and longer ones."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def lines(self, name: str) -> list[str]:
        """In Prometheus' text format."""
        found, total = [f"# TYPE {name} histogram"], 0
        for bound, count in zip((*BUCKETS_S, None), self.counts, strict=True):
            total += count
            edge = "+Inf" if bound is None else f"{bound:g}"
            found.append(f'{name}_bucket{{le="{edge}"}} {total}')
        return [*found, f"{name}_sum {self.sum_s:.6f}", f"{name}_count {total}"]


@dataclass(slots=True)
class Metrics:
    """requests: by result (ok, or the code of the reason).

    refused: refused connections, by reason.
    """

    requests: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    answer_s: Histogram = field(default_factory=Histogram)
    infer_s: Histogram = field(default_factory=Histogram)
    robots: int = 0

    def text(self, **now: float) -> str:
        """Prometheus' text format. now: further values, name -> value."""
        lines = ["# TYPE vla_requests_total counter"]
        lines += [
            f'vla_requests_total{{outcome="{k}"}} {n}' for k, n in sorted(self.requests.items())
        ]
        lines += ["# TYPE vla_connections_refused_total counter"]
        lines += [
            f'vla_connections_refused_total{{why="{k}"}} {n}'
            for k, n in sorted(self.refused.items())
        ]
        lines += self.answer_s.lines("vla_answer_seconds") + self.infer_s.lines(
            "vla_infer_seconds"
        )
        for name, value in {"robots": self.robots, **now}.items():
            lines += [f"# TYPE vla_{name} gauge", f"vla_{name} {value:g}"]
        return "\n".join(lines) + "\n"


def count(counts: dict[str, int], key: str) -> None:
    """Count one more of key, which is one of a fixed set."""
    counts[key] = counts.get(key, 0) + 1
