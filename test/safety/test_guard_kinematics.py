"""The model of the bodies of one arm against kinematics and distances by numbers alone (chain_arm)."""

import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco", reason="comes with requirements/simulation.txt")

from chain_arm import (  # noqa: E402
    BASE,
    CAPSULES,
    CHAIN,
    CLEARANCE_M,
    HOME,
    TABLE,
    TEXT,
    asked,
    code,
    gaps,
    joint_robot,
    least_singular_value,
    links,
    pose,
    quaternion,
    robot,
    turn,
)

from vla_policy.embodiment import Workspace  # noqa: E402
from vla_policy.safety import collisions  # noqa: E402


@pytest.fixture(scope="module", params=["upright", "moved and turned"])
def tool_arm(request, tmp_path_factory):
    """Commanded by the pose of its tool in the frame of its base, wherever that stands."""
    text = TEXT.replace(TABLE, "")
    if request.param != "upright":
        text = text.replace('<body name="base_link">', BASE)
    return robot(
        tmp_path_factory.mktemp("arm"),
        text=text,
        ignore=list(combinations([n for n, _, _ in CHAIN], 2)),
    )


def inside(rng, arm, margin=0.3):
    joints = arm.embodiment.joints
    return rng.uniform(joints.lower + margin, joints.upper - margin)


def test_a_pose_is_within_reach_if_joints_nearby_have_it(tool_arm):
    """From 0.2 rad away at each joint; and not with the same place turned, or elsewhere by its arm's length."""
    rng, tried = np.random.default_rng(2), 0
    while tried < 25:
        joints = inside(rng, tool_arm)
        here = joints + rng.uniform(-0.2, 0.2, 6)
        if least_singular_value(joints) < 0.05:
            continue
        tried += 1
        wanted = pose(joints)
        assert asked(tool_arm, here, wanted) is None
        assert asked(tool_arm, here, wanted * [1, 1, 1, -1, -1, -1, -1]) is None, (
            "the same rotation"
        )
        place, length = wanted[:3], np.linalg.norm(wanted[:3] - [0, 0, 0.127])
        beyond = np.array(
            [*(place + (place - [0, 0, 0.127]) * (1.2 - length) / length), *wanted[3:]]
        )
        assert code(asked(tool_arm, here, beyond)) == "unreachable"


@pytest.mark.parametrize(
    ("by_m", "by_rad", "reached"),
    [
        (0.0, 0.0, True),
        (1.9e-3, 0.0, True),
        (2.1e-3, 0.0, False),
        (0.0, 0.9e-2, True),
        (1.9e-3, 0.99e-2, True),
        (0.0, 1.1e-2, False),
        (0.05, 0.05, False),
    ],
)
@pytest.mark.parametrize("axis", range(3))
def test_what_is_reached_is_reached_to_2_mm_and_a_hundredth_rad(
    tool_arm, axis, by_m, by_rad, reached
):
    """An arm whose joints cannot move at all: what is short of the pose is what is asked for."""
    joints = tool_arm.embodiment.joints
    locked = replace(joints, lower=HOME, upper=HOME)
    fixed = replace(tool_arm.embodiment, joints=locked)
    arm = replace(tool_arm, bodies=collisions.Bodies(fixed, tool_arm.layout))
    rotation, place = links(HOME)[-1]
    way = np.roll([0.6, 0.0, 0.8], axis)
    wanted = np.concatenate((place + by_m * way, quaternion(turn(axis, by_rad) @ rotation)))
    found = asked(arm, HOME, wanted)
    assert code(found) == (None if reached else "unreachable")
    if not reached:
        assert (
            found.detail
            == f"arm: the joints reach it only to {1e3 * by_m:.0f} mm and {by_rad:.2f} rad"
        )


@pytest.mark.parametrize(
    ("joint", "end"), [(1, "lower"), (1, "upper"), (2, "upper"), (4, "lower"), (5, "upper")]
)
def test_near_the_end_of_a_joint_only_the_way_back_is_free(tmp_path, joint, end):
    arm = robot(tmp_path, text=TEXT.replace(TABLE, ""), margin=0.1,
                ignore=list(combinations([n for n, _, _ in CHAIN], 2)))  # fmt: skip
    bound = getattr(arm.embodiment.joints, end)[joint]
    inward = 1.0 if end == "lower" else -1.0

    def at(gap):
        joints = np.add(
            HOME, [-3.0, 0, 0, 0.1, 0.3, 0]
        )  # all that turns the tool turns it backwards
        joints[joint] = bound + inward * gap
        return joints

    assert asked(arm, at(0.25), pose(at(0.15))) is None
    found = asked(arm, at(0.25), pose(at(0.05)))
    assert found.code == "joint_limit"
    name = arm.embodiment.joint_names[joint]
    gap = float(
        re.fullmatch(rf"arm: {name} would be (.*) from the end of its range", found.detail)[1]
    )
    assert gap == pytest.approx(0.05, abs=0.02)
    assert asked(arm, at(0.02), pose(at(0.06))) is None, "back from where it is already"
    assert code(asked(arm, at(0.08), pose(at(0.03)))) == "joint_limit", "not further out"


def test_a_pose_near_a_singularity_is_one_whose_joints_move_it_badly(tmp_path):
    rng, far, near = np.random.default_rng(4), 0, 0
    arm = robot(tmp_path, text=TEXT.replace(TABLE, ""), singular=0.08,
                ignore=list(combinations([n for n, _, _ in CHAIN], 2)))  # fmt: skip
    for _ in range(36):
        joints = inside(rng, arm)
        nearby = joints + rng.uniform(-0.12, 0.12, (8, 6))
        here = max(nearby, key=least_singular_value)
        least, before = least_singular_value(joints), least_singular_value(here)
        if abs(least - 0.08) < 0.01:
            continue
        found = asked(arm, here, pose(joints))
        if least > 0.08:
            far += 1
            assert code(found) != "singular"
        elif before > least + 0.01:
            near += 1
            assert found.code == "singular"
            value = float(re.search(r"smallest singular value is (.*)", found.detail)[1])
            assert value == pytest.approx(least, abs=0.01)
            assert code(asked(arm, joints, pose(here))) != "singular", "it comes away from it"
    assert far > 5 and near > 5


def test_bodies_that_come_too_near_are_those_that_are(tmp_path):
    """Against distances of segments: which pair, how near, and that nothing else is held."""
    arm, rng, free, near = joint_robot(tmp_path), np.random.default_rng(6), 0, 0
    assert min(gaps(HOME).values()) > CLEARANCE_M
    for _ in range(150):
        joints = inside(rng, arm, 0.0)
        apart = gaps(joints)
        least = min(apart.values())
        found = asked(arm, HOME, joints)
        if least > CLEARANCE_M + 5e-4:
            free += 1
            assert found is None
        elif least < CLEARANCE_M - 5e-4:
            near += 1
            words = re.fullmatch(r"(.*) and (.*) would be (.*) mm apart", found.detail)
            first, second, gap_mm = words.groups()
            assert found.code == "collision" and first < second
            gap = apart.get((first, second), apart.get((second, first)))
            if least > -0.02:  # capsules that are deep in each other have no one depth
                assert gap == pytest.approx(least, abs=2e-3)
                assert float(gap_mm) == pytest.approx(1e3 * least, abs=2.0)
    assert free > 20 and near > 20


def test_a_pair_that_is_ignored_may_touch_and_others_may_not(tmp_path):
    low = np.add(HOME, [0, 1.1, 0, 0, 0, 0])
    apart = sorted((gap, pair) for pair, gap in gaps(low).items() if gap < CLEARANCE_M)
    assert apart, "for this test something must be too near"
    assert asked(joint_robot(tmp_path), HOME, low).code == "collision"
    pairs = [pair for _, pair in apart]
    assert asked(joint_robot(tmp_path, ignore=pairs), HOME, low) is None
    if len(pairs) > 1:
        assert asked(joint_robot(tmp_path, ignore=pairs[:-1]), HOME, low).code == "collision"


def test_a_pair_that_is_always_near_hides_no_other(tmp_path):
    """Forearm and gripper are 1 cm apart at all times; the gripper may not come as near to the table for that."""
    arm = joint_robot(tmp_path, clearance_m=0.05)
    always = gaps(HOME)["lower_forearm_link", "gripper_link"]
    assert always < 0.01
    for more in np.linspace(0.0, 1.2, 400):
        low = np.add(HOME, [0, more, 0, 0, 0, 0])
        if 0.015 < gaps(low)["gripper_link", "world"] < 0.03:
            break
    found = asked(arm, HOME, low)
    assert found is not None and found.code == "collision"
    assert found.detail.startswith("gripper_link and world would be ")
    assert asked(arm, low, HOME) is None, "back up"
    assert asked(arm, low, low) is None
    lower = np.add(low, [0, 0.001, 0, 0, 0, 0])
    assert gaps(low)["gripper_link", "world"] - gaps(lower)["gripper_link", "world"] < 0.001
    assert asked(arm, low, lower).code == "collision", "and no further down, not by a millimetre"


@pytest.mark.parametrize(("gap_m", "held"), [(0.006, True), (0.010, False)])
@pytest.mark.parametrize("side", range(2))
@pytest.mark.parametrize("sign", [1, -1])
def test_a_keep_out_box_is_where_it_says_and_as_large(tmp_path, side, sign, gap_m, held):
    """Before the end of the gripper, which points along x, or beside it; the second of two boxes."""
    level = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    rotation, place = links(level)[5]
    end = place + rotation @ np.array(CAPSULES["gripper_link"][0])
    if side == 0 and sign < 0:
        return  # behind its end is the arm itself
    near, far = end[side] + sign * (0.03 + gap_m), end[side] + sign * (0.03 + gap_m + 0.05)
    lower, upper = np.subtract(end, [0.02, 0.02, 0.05]), np.add(end, [0.02, 0.02, 0.07])
    lower[side], upper[side] = min(near, far), max(near, far)
    elsewhere = Workspace(np.array([-2.0, -2.0, 1.0]), np.array([-1.5, -1.5, 1.5]))
    boxes = (elsewhere, Workspace(lower, upper))
    arm = joint_robot(tmp_path, text=TEXT.replace(TABLE, ""), keep_out=boxes)
    away = level - [0.0, 0.4, 0.0, 0.0, 0.0, 0.0]
    found = asked(arm, away, level)
    assert code(found) == ("collision" if held else None)
    if held:
        assert found.detail == "gripper_link and keep_out_1 would be 6 mm apart"
