"""Smoothness of commands: of motions whose jerk is known."""

import numpy as np
import pytest

from vla_policy.evaluate.measures import Measures
from vla_policy.evaluate.smoothness import Smoothness, smoothness
from vla_policy.types import Level, Reason, Verdict

TICK_NS = 20_000_000
PASSED = Verdict(Level.PASS, None, ())
SLOWED, STOOD = (
    Verdict(level, None, (Reason("velocity", ""),)) for level in (Level.SLOW, Level.HOLD)
)
HELD = Verdict(Level.HOLD, None, (Reason("no_chunk", ""),))


def path(count: int, jerk: float) -> tuple[list[int], np.ndarray]:
    """Times and positions of a tool that moves along x with a constant jerk, m/s³."""
    t = np.arange(count) * TICK_NS / 1e9
    x = 0.2 * t + jerk * t**3 / 6
    return (np.arange(count) * TICK_NS).tolist(), np.stack([x, 0 * t, 0 * t], axis=1)


def test_a_constant_jerk_is_found():
    times, positions = path(60, 12.0)
    found = smoothness(times, list(positions), [0])
    assert (found.rms, found.own_p95) == pytest.approx((12.0, 12.0), rel=1e-6)
    assert found.seam_p95 is None


def test_a_step_where_a_chunk_takes_over_is_told_apart_from_the_motion():
    times, positions = path(60, 2.0)
    positions[30:, 1] += 0.001  # 1 mm at once
    found = smoothness(times, list(positions), [0, times[30]])
    assert found.seam_p95 > 50 * found.own_p95 / 3 and found.own_p95 < 2 * found.seam_p95
    unseen = smoothness(times, list(positions), [0, times[10]])
    assert unseen.seam_p95 == pytest.approx(2.0, rel=1e-6)


def test_what_stands_or_hardly_began_has_no_smoothness():
    times, positions = path(60, 0.0)
    assert smoothness(times, [positions[0]] * 60, [0]) == Smoothness()
    assert smoothness(times[:5], list(positions[:5]), [0]) == Smoothness()


def test_measures_count_what_the_guard_did_and_not_what_waited():
    measures = Measures(warm_up=1)
    measures.chunk(0.9, 0.8)  # the first of a process
    measures.chunk(0.02, 0.01)
    times, positions = path(20, 5.0)
    for k, now_ns in enumerate(times):
        verdict = HELD if k < 3 else SLOWED if k == 7 else STOOD if k == 8 else PASSED
        measures.tick(now_ns, None if k < 3 else positions[k], verdict, took=k in (3, 10))
    said = measures.to_dict()
    assert (said["chunk_ms"], said["chunk_cpu_ms"]) == ([20.0], [10.0])
    assert (said["ticks"], said["guarded"], said["held"], said["chunks"]) == (20, 2, 1, 2)
    assert said["guard"] == {"velocity": 2}
    assert said["jerk_rms"] == pytest.approx(5.0, abs=1e-3)


def test_films_take_a_frame_every_quarter_of_a_second():
    assert not Measures().film_due(0)
    measures = Measures(films=True)
    due = [k for k in range(50) if measures.film_due(k * TICK_NS)]
    assert due == [0, 13, 26, 39]
