"""The curve through rows, and how it is entered, against the plain arithmetic of plain_motion.py."""

from itertools import pairwise

import numpy as np
import plain_motion as plain
import pytest
from plain_motion import BODY, HANDS, LINEAR, ROTATIONS

from vla_policy.execution.spline import (
    SMALL,
    ActionRates,
    curve,
    displaced,
    evaluate,
    inverse_left_jacobian,
    left_jacobian,
    moved,
    offset,
)

H = 1e-5  # of a step, to measure a rate with


def spin(at, u):
    """Angular velocity of both rotations at u, measured on at(u) -> float64[20]."""
    return np.stack(
        [
            plain.log_matrix(
                plain.matrix_of(at(u + H)[q]) @ plain.matrix_of(at(u - H)[q]).T
            ) / (2 * H)
            for q in ROTATIONS
        ]
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_columns_run_on_the_cubic_of_their_knots_and_slopes(seed):
    rng = np.random.default_rng(seed)
    count = 1 + seed % 6
    start, *rows = plain.rows_of(rng, 1 + count)
    line = curve(start, np.array(rows), BODY)
    u = np.array([-0.5, 0.0, *rng.uniform(0.0, count, 20), *range(1, count + 1), count + 0.7])
    values, rates = evaluate(line, u, BODY)
    for column in LINEAR:
        wanted = [plain.path(start[column], [r[column] for r in rows], x) for x in u]
        assert values[:, column] == pytest.approx(np.array([p for p, _ in wanted]), abs=1e-12)
        assert rates.linear[:, column] == pytest.approx([r for _, r in wanted], abs=1e-12)
    for column in HANDS:  # that of the row that is pursued; the last one to the end
        pursued = np.clip(np.floor(u), 0, count - 1).astype(int)
        assert values[:, column].tolist() == [rows[k][column] for k in pursued]
    others = np.setdiff1d(np.arange(20), LINEAR)
    assert not rates.linear[:, others].any() and not line.slopes.linear[:, others].any()
    assert rates.turning.shape == (len(u), 2, 3)


@pytest.mark.parametrize("seed", range(20))
def test_from_row_0_on_no_column_swings_beyond_its_rows_and_before_it_by_a_seventh_at_most(seed):
    rng = np.random.default_rng(seed)
    start, *rows = plain.rows_of(rng, 6)
    values = evaluate(curve(start, np.array(rows), BODY), np.linspace(0, 5, 501), BODY)[0]
    for column in LINEAR:
        knots = np.array([start[column], *(r[column] for r in rows)])
        for k in range(5):
            inside = values[100 * k : 100 * k + 101, column]
            over = 4 / 27 * abs(knots[2] - knots[1]) if k == 0 else 0.0
            low, high = sorted(knots[k : k + 2])
            assert np.all(inside >= low - over - 1e-12) and np.all(inside <= high + over + 1e-12)


def test_an_arm_that_stands_at_row_0_first_goes_4_27_of_a_step_the_other_way():
    rows = np.zeros((4, 20))
    rows[:, [8, 18]] = 1.0  # unit quaternions
    rows[:, 0] = [0.0, 0.0, 27.0, 54.0]
    values = evaluate(curve(rows[0], rows[1:], BODY), np.array([2 / 3, 1.0]), BODY)[0]
    assert values[:, 0] == pytest.approx([-4.0, 0.0])


@pytest.mark.parametrize("seed", range(8))
def test_rotations_pass_through_their_rows_with_the_slopes_of_their_turns(seed):
    """Each segment is a cubic in the turn from its first knot; the angular velocity has no jump."""
    rng = np.random.default_rng(seed)
    count = 2 + seed % 4
    start, *rows = plain.rows_of(rng, 1 + count)
    line = curve(start, np.array(rows), BODY)

    def at(u):
        return evaluate(line, np.array([u]), BODY)[0][0]

    for q in ROTATIONS:
        knots = [plain.matrix_of(r[q]) for r in (start, *rows)]
        turns = [plain.log_matrix(b @ a.T) for a, b in pairwise(knots)]
        for k, knot in enumerate(knots):
            assert plain.matrix_of(at(k)[q]) == pytest.approx(knot, abs=1e-9)
        # Axis by axis like columns: the sum of the turns is a walk in each of the three.
        ends = np.cumsum(turns, axis=0)
        slopes = np.stack([plain.slopes(0.0, list(c)) for c in ends.T], axis=1)
        for k in range(count):
            way = [
                plain.log_matrix(plain.matrix_of(at(k + s)[q]) @ knots[k].T)
                for s in (0.0, 0.25, 0.5, 0.75)
            ]
            arrive = np.linalg.solve(plain.jacobian(turns[k]), slopes[k + 1])
            for s, turn in zip((0.0, 0.25, 0.5, 0.75), way, strict=True):
                place = plain.cubic(np.zeros(3), turns[k], slopes[k], arrive, s)[0]
                assert turn == pytest.approx(place, abs=1e-9)
    u = rng.uniform(H, count - H, 10)
    told = evaluate(line, u, BODY)[1].turning
    for x, rate in zip(u, told, strict=True):
        assert rate == pytest.approx(spin(at, x), abs=1e-6)
        assert np.linalg.norm(at(x)[ROTATIONS[1]]) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.9 * SMALL, 1.1 * SMALL, 1e-3, 0.1, 1.0, 3.0])
def test_jacobians_of_a_turn_are_their_power_series(angle):
    """Within what the closed form loses where it begins: 1e-16 / SMALL^2, of a turn of SMALL."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        turn, rate = rng.normal(0, 1, (2, 3))
        turn *= angle / np.linalg.norm(turn)
        rate /= np.linalg.norm(rate)
        series = plain.jacobian(turn)
        assert left_jacobian(turn, rate) == pytest.approx(series @ rate, abs=4e-12, rel=0)
        wanted = np.linalg.solve(series, rate)
        assert inverse_left_jacobian(turn, rate) == pytest.approx(wanted, abs=4e-12, rel=0)


def moment(rng, scale=0.5):
    """Values float64[20] and ActionRates of one moment."""
    linear = np.zeros((1, 20))
    linear[:, LINEAR] = rng.normal(0, scale, len(LINEAR))
    return plain.rows_of(rng, 1)[0], ActionRates(linear, rng.normal(0, scale, (1, 2, 3)))


def same_place(one, other, abs=1e-9):
    assert one[LINEAR] == pytest.approx(other[LINEAR], abs=abs)
    for q in ROTATIONS:
        assert plain.matrix_of(one[q]) == pytest.approx(plain.matrix_of(other[q]), abs=abs)


@pytest.mark.parametrize("seed", range(5))
def test_moved_goes_on_at_the_rates_along_the_axes_of_the_base(seed):
    values, rates = moment(np.random.default_rng(seed))
    found = moved(values, rates, 0.3, BODY)
    assert found[LINEAR] == pytest.approx(values[LINEAR] + 0.3 * rates.linear[0, LINEAR])
    for i, q in enumerate(ROTATIONS):
        turned = plain.exp_matrix(0.3 * rates.turning[0, i]) @ plain.matrix_of(values[q])
        assert plain.matrix_of(found[q]) == pytest.approx(turned)
    assert found[HANDS] == pytest.approx(values[HANDS])


@pytest.mark.parametrize("seed", range(8))
def test_a_curve_is_entered_where_the_arm_is_as_fast_as_it_is_and_left_alone_after_a_step(seed):
    rng = np.random.default_rng(seed)
    start, *rows = plain.rows_of(rng, 6)
    line = curve(start, np.array(rows), BODY)
    wanted, speed = moment(rng)
    begun = 1.3
    values, rates = evaluate(line, np.array([begun]), BODY)
    gap = offset(wanted, speed, values[0], rates, BODY)

    def after(share):
        values, rates = evaluate(line, np.array([begun + share]), BODY)
        values, rates = displaced(values, rates, gap, share, BODY)
        return values[0], rates

    def at(share):
        return after(share)[0]

    place, rates = after(0.0)
    same_place(place, wanted)
    assert rates.linear == pytest.approx(speed.linear, abs=1e-9)
    assert rates.turning == pytest.approx(speed.turning, abs=1e-9)
    place, rates = after(1.0)
    same_place(place, evaluate(line, np.array([begun + 1.0]), BODY)[0][0])
    assert rates.turning == pytest.approx(
        evaluate(line, np.array([begun + 1.0]), BODY)[1].turning, abs=1e-9
    )
    for share in rng.uniform(2 * H, 1.0 - 2 * H, 8):
        rates = after(share)[1]
        assert rates.turning[0] == pytest.approx(spin(at, share), abs=1e-6)
        measured = (at(share + H) - at(share - H))[LINEAR] / (2 * H)
        assert rates.linear[0, LINEAR] == pytest.approx(measured, abs=1e-6)
        assert (
            at(share)[HANDS].tolist()
            == evaluate(line, np.array([begun + share]), BODY)[0][0, HANDS].tolist()
        )
