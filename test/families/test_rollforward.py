"""What tiny reads, rolled forward over rows that are under way."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vla_policy.families.tiny.rollforward import AROUND_M, HELD_OPENING, Hand, ahead
from vla_policy.models import pointing

WIDTH = 24
DOWN = (0.0, 0.7071068, 0.0, 0.7071068)


def hand(tool, target, *, opening=1.0, wrist=True):
    """A hand at tool that sees its target; a reference and a destination lie elsewhere."""
    count = 3 * 3 + 3 + 3 * 2 + 3 * WIDTH + 3 + 1 + 2 + WIDTH
    found = pointing.unpack(torch.zeros(1, count), WIDTH)
    places = np.array([[target, [0.4, 0.1, 0.02], [0.3, -0.2, 0.0]]])
    xyz = torch.from_numpy(places).float()
    relative = torch.from_numpy(np.subtract(target, tool)[None]).float()
    seen = torch.tensor([[4.0 if wrist else -4.0]])
    found = replace(found, xyz=xyz, wrist_xyz=relative, wrist_visible=seen)
    return Hand(found, np.array([*tool, *DOWN, opening]))


def rows(steps, gripper):
    steps = np.asarray(steps, float)
    said = {name: steps[:, i] for i, name in enumerate(("dx", "dy", "dz"))}
    said |= {name: np.zeros(len(steps)) for name in ("drx", "dry", "drz")}
    return {**said, "gripper": np.asarray(gripper, float)}


def places(it):
    """Target by the front and by the wrist, float[3] each, in the frame of the base."""
    wrist = it.measured[:3] + it.found.wrist_xyz[0].numpy()
    return it.found.xyz[0, 0].numpy(), wrist


def test_what_stands_stays_while_the_tool_moves():
    before = hand([0.3, 0.0, 0.2], [0.35, 0.1, 0.02])
    (after,) = ahead((before,), (rows([[0.02, 0.01, -0.03]] * 3, [1, 1, 1]),), None)
    np.testing.assert_allclose(after.measured[:3], [0.36, 0.03, 0.11], atol=1e-9)
    for place in places(after):
        np.testing.assert_allclose(place, [0.35, 0.1, 0.02], atol=1e-6)
    torch.testing.assert_close(after.found.xyz, before.found.xyz)
    assert after.measured[7] == 1.0


@pytest.mark.parametrize("aside", [0.0, 0.9 * AROUND_M])
def test_a_closing_hand_takes_along_what_it_is_around(aside):
    target = np.array([0.3 + aside, 0.0, 0.02])
    before = hand([0.3, 0.0, 0.02], target)
    (after,) = ahead(
        (before,), (rows([[0, 0, 0], [0, 0, 0.035], [0, 0, 0.035]], [0, 0, 0]),), None
    )
    for place in places(after):
        np.testing.assert_allclose(place, np.add(target, [0, 0, 0.07]), atol=1e-6)
    assert after.measured[7] == HELD_OPENING
    torch.testing.assert_close(after.found.xyz[0, 1:], before.found.xyz[0, 1:])


def test_a_hand_that_closes_beside_a_thing_leaves_it():
    target = [0.3 + 1.5 * AROUND_M, 0.0, 0.02]
    before = hand([0.3, 0.0, 0.02], target)
    (after,) = ahead((before,), (rows([[0, 0, 0], [0, 0, 0.035]], [0, 0]),), None)
    for place in places(after):
        np.testing.assert_allclose(place, target, atol=1e-6)
    assert after.measured[7] == 0.0


def test_what_is_let_go_stays_where_it_was_let_go():
    before = hand([0.3, 0.0, 0.1], [0.3, 0.0, 0.1], opening=0.35)
    moves = [[0.03, 0, 0], [0.03, 0, 0], [0, 0, 0.03], [0, 0, 0.03]]
    (after,) = ahead((before,), (rows(moves, [0, 0, 1, 1]),), None)
    for place in places(after):
        np.testing.assert_allclose(place, [0.36, 0.0, 0.1], atol=1e-6)
    assert after.measured[7] == 1.0
    (held,) = ahead((before,), (rows(moves[:2], [0, 0]),), None)
    assert held.measured[7] == 0.35  # as it was measured around the thing


def test_without_the_wrist_the_front_says_where_the_target_is():
    before = hand([0.3, 0.0, 0.02], [0.3, 0.0, 0.02], wrist=False)
    astray = replace(before.found, wrist_xyz=torch.tensor([[0.5, 0.5, 0.5]]))
    (after,) = ahead((replace(before, found=astray),), (rows([[0, 0, 0.03]] * 2, [0, 0]),), None)
    np.testing.assert_allclose(places(after)[0], [0.3, 0.0, 0.08], atol=1e-6)


def test_a_base_that_drives_leaves_the_room_behind_but_not_what_is_held():
    way = np.array([[0, 0, 0], [0.1, 0, 0], [0.1, 0, np.pi / 2]])
    stands = rows(np.zeros((2, 3)), [1, 1])
    (after,) = ahead((hand([0.3, 0.0, 0.2], [0.35, 0.1, 0.02]),), (stands,), way)
    for place in places(after):
        np.testing.assert_allclose(place, [0.1, -0.25, 0.02], atol=1e-6)
    carries = rows(np.zeros((2, 3)), [0, 0])
    (after,) = ahead((hand([0.3, 0.0, 0.2], [0.3, 0.0, 0.2], opening=0.4),), (carries,), way)
    for place in places(after):
        np.testing.assert_allclose(place, [0.3, 0.0, 0.2], atol=1e-6)
    np.testing.assert_allclose(after.found.xyz[0, 2].numpy(), [-0.2, -0.2, 0.0], atol=1e-6)


def test_what_is_grasped_after_driving_or_let_go_before_it():
    """The hand stands still before the base; the base drives one row, the hand closes or opens."""
    comes, goes = (
        np.array([[0, 0, 0], [0.1, 0, 0], [0.1, 0, 0]]),
        np.array([[0, 0, 0], [0, 0, 0], [0.1, 0, 0]]),
    )
    lifts = rows([[0, 0, 0], [0, 0, 0.03]], [1, 0])
    (after,) = ahead((hand([0.3, 0.0, 0.02], [0.4, 0.0, 0.02]),), (lifts,), comes)
    for place in places(after):  # 0.1 m ahead at first, in the hand when it closes
        np.testing.assert_allclose(place, [0.3, 0.0, 0.05], atol=1e-6)
    drops = rows(np.zeros((2, 3)), [0, 1])
    (after,) = ahead((hand([0.3, 0.0, 0.02], [0.3, 0.0, 0.02], opening=0.4),), (drops,), goes)
    for place in places(after):
        np.testing.assert_allclose(place, [0.2, 0.0, 0.02], atol=1e-6)


def test_what_one_hand_carries_the_other_sees_there():
    left, right = (
        hand([0.3, 0.1, 0.02], [0.3, 0.1, 0.02]),
        hand([0.3, -0.2, 0.2], [0.3, 0.1, 0.02]),
    )
    lifts, rests = rows([[0, 0, 0.03]] * 2, [0, 0]), rows(np.zeros((2, 3)), [1, 1])
    for it in ahead((left, right), (lifts, rests), None):
        for place in places(it):
            np.testing.assert_allclose(place, [0.3, 0.1, 0.08], atol=1e-6)
    # A closed hand that stands near it does not hide that the other carries it.
    near = hand([0.31, 0.1, 0.02], [0.3, 0.1, 0.02])
    for it in ahead((near, left), (rows(np.zeros((2, 3)), [0, 0]), lifts), None):
        np.testing.assert_allclose(places(it)[0], [0.3, 0.1, 0.08], atol=1e-6)
