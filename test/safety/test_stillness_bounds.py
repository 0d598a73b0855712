"""Who moves an arm: what is watched, led and gone elsewhere, at each bound and just beyond. Times in ms."""

from types import SimpleNamespace

import numpy as np
import pytest

from vla_policy.embodiment import GroupLimits
from vla_policy.embodiment.layout import JOINTS, POSE, ActionPart, Layout
from vla_policy.geometry.quaternions import turned
from vla_policy.safety.guard_state import Gone, GuardState, Watched
from vla_policy.safety.stillness import (
    begun,
    displaced,
    goes_elsewhere,
    gone_on,
    led,
    lost,
    watch,
)

MS = 1_000_000
POSE_NAMES = tuple(f"ee.{n}" for n in ("x", "y", "z", "qx", "qy", "qz", "qw"))
BOTH = Layout(
    ("joint.a", "joint.b", *POSE_NAMES, "gripper"),
    (
        ActionPart("arm", JOINTS, slice(0, 2), ("joint.a", "joint.b"), GroupLimits()),
        ActionPart("tool", POSE, slice(2, 9), POSE_NAMES, GroupLimits()),
        ActionPart("hand", "gripper", slice(9, 10), ("gripper",), GroupLimits()),
    ),
)
HERE = np.array([0.1, -0.2, 0.3, 0.4, 0.5, 0.0, 0.0, 0.0, 1.0, 0.5])


def moved(column, by):
    values = np.array(HERE)
    values[column] += by
    return values


def yawed(by):
    values = np.array(HERE)
    values[5:9] = turned(values[5:9], np.array([0.0, 0.0, by]))
    return values


@pytest.mark.parametrize(
    ("here", "part", "moves"),
    [
        (HERE, None, False),
        (moved(0, 0.0049), 0, False),
        (moved(0, 0.0051), 0, True),
        (moved(1, -0.0049), 0, False),
        (moved(1, -0.0051), 0, True),
        (moved(2, 0.0029), 1, False),
        (moved(4, -0.0031), 1, True),
        (yawed(0.0049), 1, False),
        (yawed(-0.0051), 1, True),
        (moved(0, np.nan), 0, True),
        (moved(3, np.nan), 1, True),
        (moved(9, 0.5), None, False),  # a hand may do what it likes
    ],
)
def test_what_is_more_than_a_measurement_varies(here, part, moves):
    found = [k for k, one in enumerate(BOTH.parts[:2]) if displaced(one, HERE, here)]
    assert found == ([part] if moves else [])
    before = GuardState(watched=Watched(HERE, 1000 * MS))
    after = watch(before, here, 1020 * MS, BOTH).watched
    assert after.stamp_ns == 1020 * MS
    assert after.moved_ns == (1020 * MS if moves else None)
    expected = here if moves else HERE  # small steps add up: they are compared with where it stood
    assert np.array_equal(after.values, expected, equal_nan=True)


def test_one_measurement_is_looked_at_once_and_from_a_clock_that_went_back_anew():
    empty = GuardState()
    assert watch(empty, None, 5, BOTH) is empty
    first = watch(empty, HERE, 1000 * MS, BOTH)
    assert (first.watched.stamp_ns, first.watched.moved_ns) == (1000 * MS, None)
    with pytest.raises(ValueError, match="read-only"):
        first.watched.values[0] = 1.0
    assert watch(first, moved(0, 0.5), 1000 * MS, BOTH) is first, "of the same stamp"
    assert watch(first, None, 1020 * MS, BOTH) is first
    back = watch(first, moved(0, 0.5), 999 * MS, BOTH).watched
    assert (back.stamp_ns, back.moved_ns) == (999 * MS, None)
    assert back.values[0] == pytest.approx(0.6)


def test_an_arm_that_moved_is_remembered_while_it_stands():
    state = watch(GuardState(), HERE, 1000 * MS, BOTH)
    state = watch(state, moved(0, 0.1), 1020 * MS, BOTH)
    for now_ms in range(1040, 1300, 20):
        state = watch(state, moved(0, 0.1), now_ms * MS, BOTH)
        assert state.watched.moved_ns == 1020 * MS
        assert led(state) == (now_ms < 1220), "it is waited for, for 200 ms"
    assert not led(GuardState())
    assert not led(GuardState(watched=Watched(HERE, 5)))


def test_a_first_command_lets_an_arm_be_between_where_it_is_and_where_it_goes():
    start, values = moved(0, 0.1), moved(1, -0.3)
    gone = begun(GuardState(), moved(2, 0.2), start, values, 1000 * MS).gone
    assert gone.low == pytest.approx(moved(1, -0.3))
    assert gone.high[[0, 1, 2]] == pytest.approx([0.2, -0.2, 0.5])
    assert gone.since_ns == 1000 * MS
    unseen = begun(GuardState(), None, start, values, 1000 * MS).gone
    assert unseen.high[[0, 1, 2]] == pytest.approx([0.2, -0.2, 0.3])


def test_each_command_and_its_way_to_rest_widen_that():
    nothing = GuardState()
    assert gone_on(nothing, BOTH, HERE, {}) is nothing
    state = GuardState(gone=Gone(HERE, HERE, 7))
    way = SimpleNamespace(positions=np.array([[0.2, -0.2], [0.3, -0.5], [0.3, -0.5]]))
    gone = gone_on(state, BOTH, moved(2, 0.1), {"arm": way}).gone
    assert gone.low[[0, 1, 2]] == pytest.approx([0.1, -0.5, 0.3])
    assert gone.high[[0, 1, 2]] == pytest.approx([0.3, -0.2, 0.4])
    assert gone.since_ns == 7
    plain = gone_on(state, BOTH, moved(2, -0.1), {}).gone
    assert plain.low[[0, 1, 2]] == pytest.approx([0.1, -0.2, 0.2])
    assert plain.high.tolist() == HERE.tolist()


GONE = GuardState(gone=Gone(HERE - 0.1, HERE + 0.1, 1000 * MS))


@pytest.mark.parametrize(
    ("here", "elsewhere"),
    [
        (HERE, False),
        (moved(0, 0.1399), False),
        (moved(0, 0.1401), True),
        (moved(1, -0.1399), False),
        (moved(1, -0.1401), True),
        (moved(2, 0.1199), False),
        (moved(3, 0.1201), True),
        (moved(4, -0.1201), True),
        (moved(0, np.nan), True),
        (yawed(2.0), False),  # by its place alone: a quaternion has no low and high
        (moved(9, 5.0), False),
    ],
)
def test_an_arm_that_follows_is_beside_its_way_by_2_cm_or_4_hundredths_of_a_radian(
    here, elsewhere
):
    assert goes_elsewhere(GONE, here, 1000 * MS, BOTH) == elsewhere
    assert goes_elsewhere(GONE, here, 2000 * MS, BOTH) == elsewhere
    assert not goes_elsewhere(GONE, here, 2001 * MS, BOTH), "a second after it began nobody looks"
    assert not goes_elsewhere(GuardState(), here, 1000 * MS, BOTH)


def test_an_arm_that_is_lost_is_led_from_that_moment():
    state = lost(GONE, moved(0, 0.3), 1500 * MS)
    assert (state.watched.stamp_ns, state.watched.moved_ns) == (1500 * MS, 1500 * MS)
    assert state.watched.values.tolist() == moved(0, 0.3).tolist()
    assert led(state)
