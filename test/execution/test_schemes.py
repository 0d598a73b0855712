"""What each scheme makes of the rest of a plan and a new chunk, against a plain merge, row by row and time by time."""

import numpy as np
import plain_motion as plain
import pytest
from plain_motion import BODY, HANDS, LINEAR, ROTATIONS

from vla_policy.execution.replanning import truncated
from vla_policy.execution.schemes import SCHEMES, mean_rotation
from vla_policy.execution.timeline import Timeline, insert, queued_rows, setpoint
from vla_policy.geometry.quaternions import turn_between, turned
from vla_policy.types import ActionChunk

STEP_NS = 100_000_000
BAND = 0.15


def chunk_of(rows, obs_ns, sequence):
    return ActionChunk(rows, BODY.names, int(obs_ns), STEP_NS, sequence, "go")


def story(rng, scheme, rows, count, lead=0.0):
    """What each of count arrivals met: the chunks taken before, the timeline, the chunk and the time."""
    timeline, met, taken = Timeline(), [], []
    obs_ns, stands = 5 * STEP_NS, plain.rows_of(rng, 1)[0]
    for sequence in range(count):
        chunk = chunk_of(plain.rows_of(rng, rows(rng)), obs_ns, sequence)
        late = rng.uniform(-lead, min(3.0, len(chunk.actions) - 0.1))
        now_ns = obs_ns + int(STEP_NS * late)
        met.append((list(taken), timeline, chunk, now_ns))
        here = setpoint(timeline, now_ns, BODY)
        stands = stands if here is None else here
        merge = SCHEMES[scheme].merge
        timeline, reason = insert(timeline, chunk, now_ns, stands, BODY, merge=merge)
        assert reason is None
        taken.append(chunk)
        obs_ns = now_ns + int(STEP_NS * rng.choice((0.0, 0.5, 1.0, rng.uniform(0.5, 5.0))))
        obs_ns += int(lead * STEP_NS)
    return met


def test_one_scheme_follows_plans_to_their_end_and_one_has_the_policy_continue_them():
    chunk = chunk_of(plain.rows_of(np.random.default_rng(0), 8), 0, 0)
    sent = {name: len(truncated(chunk, name, 4).actions) for name in SCHEMES}
    assert {name for name, rows in sent.items() if rows == 4} == {"open_loop"}
    assert [name for name, scheme in SCHEMES.items() if scheme.continues] == ["rtc"]


def steadied(openings, held):
    """Openings that leave what is held only for something further away than the band, or for an end."""
    found = []
    for opening in openings:
        held = opening if held is None else held
        if opening in (0.0, 1.0) or abs(opening - held) > BAND:
            held = opening
        found.append(held)
    return found


def merged(scheme, met):
    rows = SCHEMES[scheme].merge(met[1], met[2], met[2].obs_ns, met[3], BODY)
    assert rows.shape == met[2].actions.shape
    return rows


def held_at(timeline, now_ns, column):
    held = setpoint(timeline, now_ns, BODY)
    return None if held is None else held[column]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("scheme", ["average", "blend", "rtc"])
def test_two_plans_are_mixed_where_both_have_a_row(scheme, seed):
    rng = np.random.default_rng(seed)
    for met in story(rng, scheme, lambda rng: rng.integers(1, 8), 8, lead=0.4):
        _, timeline, chunk, now_ns = met
        found = merged(scheme, met)
        # Where the running plan is at the end of each row of the chunk.
        old, begun = [], 0
        for k in range(len(chunk.actions)):
            place = setpoint(timeline, chunk.obs_ns + (k + 1) * STEP_NS - 1, BODY)
            if place is None or queued_rows(timeline, now_ns) == 0:
                break
            old.append(place)
            begun += chunk.obs_ns + (k + 1) * STEP_NS <= now_ns
        for k, row in enumerate(chunk.actions):
            if k >= len(old):
                assert found[k, LINEAR].tolist() == row[LINEAR].tolist()
                continue
            share = 0.7
            if scheme != "average":  # none before what is pursued; all where the old plan ends
                share = np.interp(k + 1, (begun, len(old) + 1), (0.0, 1.0))
            wanted = (1.0 - share) * old[k] + share * row
            assert found[k, LINEAR] == pytest.approx(wanted[LINEAR], abs=1e-9)
            for q in ROTATIONS:
                one, two = plain.matrix_of(old[k][q]), plain.matrix_of(row[q])
                between = plain.exp_matrix(share * plain.log_matrix(two @ one.T)) @ one
                assert plain.matrix_of(found[k, q]) == pytest.approx(between, abs=1e-6)
        for column in HANDS:
            said = chunk.actions[:, column].tolist()
            held = held_at(timeline, now_ns, column)
            # No plan: nothing is held that a change could be small against.
            wanted = said if queued_rows(timeline, now_ns) == 0 else steadied(said, held)
            assert found[:, column].tolist() == wanted


@pytest.mark.parametrize(
    ("seed", "rows"),
    [*((s, lambda rng: rng.integers(1, 8)) for s in range(8)), (8, lambda rng: 12)],
)
def test_an_ensemble_hears_every_chunk_that_speaks_of_the_same_time(seed, rows):
    rng = np.random.default_rng(seed)
    for met in story(rng, "ensemble", rows, 8):
        taken, timeline, chunk, now_ns = met
        found = merged("ensemble", met)
        votes = []
        for k in range(len(chunk.actions)):
            end_ns = chunk.obs_ns + (k + 1) * STEP_NS
            said = []
            for c in [*taken, chunk]:
                u = (end_ns - c.obs_ns) / STEP_NS
                if u <= len(c.actions):
                    said.append((c, u))
            weights = np.exp(-0.01 * np.arange(len(said)))
            weights /= weights.sum()
            for column in LINEAR:
                places = [
                    plain.path(c.actions[0, column], c.actions[:, column], u)[0] for c, u in said
                ]
                assert found[k, column] == pytest.approx(weights @ places, abs=1e-9)
            openings = np.array([c.actions[int(np.ceil(u)) - 1][HANDS] for c, u in said])
            votes.append([vote(openings[:, i], weights) for i in range(2)])
        for i, column in enumerate(HANDS):
            held = held_at(timeline, now_ns, column)
            wanted = steadied([v[i] for v in votes], held)
            assert found[:, column].tolist() == wanted


def vote(openings, weights):
    """The newest word of the side, open or closed, that has more weight."""
    is_open = sum(w for o, w in zip(openings, weights, strict=True) if o > 0.5) > 0.5
    return [o for o in openings if (o > 0.5) == is_open][-1]


def test_an_ensemble_turns_a_tool_to_the_mean_of_what_its_chunks_say():
    rng = np.random.default_rng(3)
    path = plain.rows_of(rng, 8, turn=0.2)

    def seen(k):
        """The path from row k on, as one observation saw it."""
        rows = np.array(path[k : k + 6])
        for q in ROTATIONS:
            rows[:, q] = turned(rows[:, q], rng.normal(0, 0.2, (6, 3)))
        return chunk_of(rows, (5 + k) * STEP_NS, k)

    first, second, third = seen(0), seen(1), seen(2)
    timeline = Timeline()
    for chunk in (first, second):
        timeline, _ = insert(timeline, chunk, chunk.obs_ns, chunk.actions[0], BODY)
    found = merged("ensemble", (None, timeline, third, third.obs_ns))
    weights = np.exp([0.0, -0.01, -0.02]) / np.exp([0.0, -0.01, -0.02]).sum()
    for k in range(4):
        for q in ROTATIONS:
            said = np.stack(
                [first.actions[k + 2, q], second.actions[k + 1, q], third.actions[k, q]]
            )
            turns = turns_from(found[k, q], said)
            assert weights @ turns == pytest.approx(np.zeros(3), abs=1e-6)


def turns_from(mean, rotations):
    matrix = plain.matrix_of(mean)
    return np.array([plain.log_matrix(plain.matrix_of(r) @ matrix.T) for r in rotations])


@pytest.mark.parametrize("seed", range(20))
def test_the_mean_of_rotations_is_where_their_turns_add_up_to_nothing(seed):
    rng = np.random.default_rng(seed)
    count = 2 + seed % 5
    middle = plain.exp_matrix(rng.normal(0, 1, 3))
    rotations = np.array([
        plain.quaternion_of(plain.exp_matrix(rng.normal(0, 0.25, 3)) @ middle)
        * rng.choice((1.0, -1.0)) for _ in range(count)
    ])  # fmt: skip
    weights = rng.uniform(0.1, 1.0, count)
    weights /= weights.sum()
    mean = mean_rotation(rotations, weights)
    assert weights @ turns_from(mean, rotations) == pytest.approx(np.zeros(3), abs=1e-8)
    # Whichever of the two quaternions of a rotation is given, and in any order.
    again = mean_rotation(-rotations[::-1], weights[::-1])
    assert plain.matrix_of(again) == pytest.approx(plain.matrix_of(mean), abs=1e-8)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7])
def test_the_mean_of_two_rotations_is_on_the_arc_between_them(share):
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, two = plain.rows_of(rng, 2, turn=1.0)[:, ROTATIONS[0]]
        mean = mean_rotation(np.stack((one, two)), np.array([1 - share, share]))
        on_arc = turned(one, share * turn_between(one, two))
        assert plain.matrix_of(mean) == pytest.approx(plain.matrix_of(on_arc), abs=1e-6)


def test_what_a_turn_makes_of_a_rotation_has_length_one():
    rng = np.random.default_rng(1)
    rotations = rng.normal(0, 1, (4, 4))
    turns = rng.normal(0, 1, (4, 3))
    found = turned(rotations, turns)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(4))
    for q, turn, r in zip(found, turns, rotations, strict=True):
        assert plain.matrix_of(q) == pytest.approx(plain.exp_matrix(turn) @ plain.matrix_of(r))
    assert turn_between(rotations[0], found[0]) == pytest.approx(turns[0])


@pytest.mark.parametrize(
    ("held", "said", "taken"),
    [
        (0.0, [0.15, 0.14, 0.151, 0.0], [0.0, 0.0, 0.151, 0.0]),  # the band itself is no change
        (0.9, [1.0, 0.9, 0.9], [1.0, 1.0, 1.0]),  # but fully open
        (0.1, [0.0, 0.1], [0.0, 0.0]),  # and closed are always reached
        (None, [0.5, 0.6, 0.7], [0.5, 0.5, 0.7]),  # without a plan the first row holds
        (None, [0.5], [0.5]),
    ],
)
def test_a_hand_leaves_what_it_holds_only_for_something_else(held, said, taken):
    rows = np.tile(plain.rows_of(np.random.default_rng(0), 1), (len(said), 1))
    rows[:, HANDS[0]], rows[:, HANDS[1]] = said, 1.0
    timeline = Timeline()
    if held is not None:
        before = np.tile(rows[:1], (9, 1))
        before[:, HANDS[0]] = held
        timeline, _ = insert(timeline, chunk_of(before, STEP_NS, 0), STEP_NS, rows[0], BODY)
    chunk = chunk_of(rows, 2 * STEP_NS, 1)
    for scheme in ("ensemble",) if held is None else ("average", "blend"):
        found = merged(scheme, (None, timeline, chunk, chunk.obs_ns))
        assert found[:, HANDS[0]].tolist() == taken
        assert found[:, HANDS[1]].tolist() == [1.0] * len(said)
