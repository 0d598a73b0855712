"""The model of the bodies against kinematics and distances that are written here again with numbers alone."""

import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco", reason="comes with requirements/simulation.txt")

from vla_policy.embodiment import Model, Workspace, load_embodiment  # noqa: E402
from vla_policy.safety import collisions  # noqa: E402
from vla_policy.safety.robot import robot_of  # noqa: E402
from vla_policy.types import RobotState  # noqa: E402

GOLDEN = Path(__file__).parents[1] / "golden"
TEXT = (GOLDEN / "arm_bodies.xml").read_text()
TABLE = '<geom name="table" type="box" pos="0 0 -0.02" size="1 1 0.02"/>'
HOME = np.array([0.0, -0.5, 0.6, 0.0, 0.6, 0.0])
# Each joint: where it is in the link before, and its axis; then the tool.
CHAIN = (
    ("shoulder_link", (0, 0, 0.079), 2), ("upper_arm_link", (0, 0, 0.04805), 1),
    ("upper_forearm_link", (0.05955, 0, 0.3), 1), ("lower_forearm_link", (0.2, 0, 0), 0),
    ("wrist_link", (0.1, 0, 0), 1), ("gripper_link", (0.069744, 0, 0), 0),
)  # fmt: skip
TOOL = (0.139, 0, 0)
CLEARANCE_M = 0.008
# The capsule along each link: its end in the link, and its radius.
CAPSULES = {
    "shoulder_link": ((0, 0, 0.048), 0.045), "upper_arm_link": ((0.05955, 0, 0.3), 0.035),
    "upper_forearm_link": ((0.2, 0, 0), 0.03), "lower_forearm_link": ((0.1, 0, 0), 0.03),
    "wrist_link": ((0.05, 0, 0), 0.03), "gripper_link": ((0.11, 0, 0), 0.03),
}  # fmt: skip
# Where the base of the second model stands: moved and turned about an odd axis.
BASE_QUAT = np.array([0.8, 0.2, -0.4, 0.4])  # wxyz, unit
BASE = f'<body name="base_link" pos="0.4 -0.3 0.2" quat="{" ".join(map(str, BASE_QUAT))}">'


def turn(axis, angle):
    c, s = np.cos(angle), np.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    found = np.eye(3)
    found[i, i], found[j, j], found[i, j], found[j, i] = c, c, -s, s
    return found


def links(joints):
    """Rotation and place of each link in the base frame, and of the tool last."""
    rotation, place, found = np.eye(3), np.zeros(3), []
    for (_, offset, axis), angle in zip(CHAIN, joints, strict=True):
        place = place + rotation @ offset
        rotation = rotation @ turn(axis, angle)
        found.append((rotation, place))
    return [*found, (rotation, place + rotation @ TOOL)]


def quaternion(rotation):
    """xyzw: the vector that fits a rotation matrix best, as an eigenvector; for turns of any size."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    fit = np.array(
        [
            [a - e - i, b + d, c + g, h - f],
            [0, e - a - i, f + h, c - g],
            [0, 0, i - a - e, d - b],
            [0, 0, 0, a + e + i],
        ]
    )
    return np.linalg.eigh(fit, UPLO="U")[1][:, -1]


def pose(joints):
    rotation, place = links(joints)[-1]
    return np.concatenate((place, quaternion(rotation)))


def least_singular_value(joints):
    """Of m and rad per rad, from differences."""
    columns, step = [], 1e-6
    rotation, place = links(joints)[-1]
    for k in range(6):
        r, p = links(joints + step * np.eye(6)[k])[-1]
        w = (r @ rotation.T - np.eye(3)) / step
        columns.append([*((p - place) / step), w[2, 1], w[0, 2], w[1, 0]])
    return np.linalg.svd(np.array(columns).T, compute_uv=False)[-1]


def segments_apart(a, b, c, d):
    """Distance of two segments: the best of many points of one, to the other exactly."""
    p = a + np.linspace(0.0, 1.0, 201)[:, None] * (b - a)
    u = np.clip((p - c) @ (d - c) / ((d - c) @ (d - c)), 0.0, 1.0)
    return np.linalg.norm(p - (c + u[:, None] * (d - c)), axis=1).min()


def gaps(joints):
    """How far apart bodies are that no joint links, by names; the table is 'world'."""
    ends = {}
    for (name, _, _), (rotation, place) in zip(CHAIN, links(joints), strict=False):
        ends[name] = (place, place + rotation @ np.array(CAPSULES[name][0]), CAPSULES[name][1])
    found = {}
    names = [name for name, _, _ in CHAIN]
    for a, b in combinations(names, 2):
        if names.index(b) - names.index(a) > 1:
            found[a, b] = segments_apart(*ends[a][:2], *ends[b][:2]) - ends[a][2] - ends[b][2]
    for name in names[1:]:
        found[name, "world"] = min(ends[name][0][2], ends[name][1][2]) - ends[name][2]
    return found


def robot(
    tmp_path,
    name="vx300s",
    *,
    text=TEXT,
    keep_out=(),
    ignore=(),
    clearance_m=CLEARANCE_M,
    margin=0.0,
    singular=0.0,
    **changes,
):
    file = tmp_path / "arm.xml"
    file.write_text(text)
    model = Model(file, clearance_m, (("base_link", "shoulder_link"), ("world", "base_link"), ("world", "shoulder_link"),
                               *(("base_link", n) for n, _, _ in CHAIN[1:]), *ignore), margin, singular)  # fmt: skip
    embodiment = load_embodiment(name)
    limits = replace(embodiment.limits, keep_out=keep_out)
    return robot_of(replace(embodiment, limits=limits, model=model, **changes))


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


def asked(arm, here, wanted):
    return arm.bodies.problem(RobotState(here, 1), np.append(wanted, 0.5))


def code(reason):
    return None if reason is None else reason.code


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


def joint_robot(tmp_path, **changes):
    return robot(tmp_path, GOLDEN / "joint_robot.yaml", **changes)


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<mujoco", r"arm.xml: got a file that MuJoCo cannot read, expected a URDF or MJCF: \S"),
        (
            TEXT.replace("base_link", "foot"),
            "arm.xml: got no body 'base_link', expected the base frame",
        ),
        (
            TEXT.replace('joint name="elbow"', 'joint name="knee"'),
            "got no joint 'elbow', expected one",
        ),
        (
            TEXT.replace("ee_gripper_link", "somewhere"),
            "got no site 'ee_gripper_link', expected one",
        ),
        (
            TEXT.replace("<worldbody>", '<worldbody><geom type="mesh" mesh="no"/>'),
            r"arm.xml: (MuJoCo cannot build it \(meshes are looked for beside it\)|got a file)",
        ),
        (
            f'<!DOCTYPE mujoco [<!ENTITY many "many">]>{TEXT}',
            "arm.xml:1: got the entity 'many', expected none",
        ),
        (
            TEXT.replace(
                '<joint name="elbow" axis="0 1 0"/>', '<joint name="elbow" axis="0 0 0"/>'
            ),
            r"arm.xml: (MuJoCo cannot build it \(meshes are looked for beside it\)|got a file)",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_refused_by_name(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        robot(tmp_path, text=text)


def test_a_robot_without_a_model_has_no_bodies():
    arm = robot_of(replace(load_embodiment("vx300s"), model=None))
    with pytest.raises(ValueError, match="robot 'vx300s': got no model, expected one"):
        collisions.Bodies(arm.embodiment, arm.layout)


def clock(monkeypatch, took_s):
    """thread_time that says of each pair of calls how long it took, in turn."""
    now, turns = [0.0], iter(took_s)
    starts = [True]

    def thread_time():
        if not starts[0]:
            now[0] += next(turns)
        starts[0] = not starts[0]
        return now[0]

    monkeypatch.setattr(collisions.time, "thread_time", thread_time)


@pytest.mark.parametrize(
    ("trajectory", "took_ms", "refused"),
    [
        # A check has two looks, 20 ms a period, of which a quarter: 5 ms; a trajectory takes three checks.
        (False, [2.4] * 40, None),
        (
            False,
            [2.6] * 40,
            "one check takes 5.2 ms, expected at most 5.0 ms at 50 Hz; use simpler geometry",
        ),
        (
            False,
            [0.1] * 37 + [900.0] * 3,
            None,
        ),  # now and then the kernel takes the processor away
        (False, [0.1] * 34 + [900.0] * 6, "one check takes 1800.0 ms"),
        (True, [0.8] * 40, None),
        (True, [0.9] * 40, "one check takes 1.8 ms, expected at most 1.7 ms"),
    ],
)
def test_a_model_may_take_a_quarter_of_a_period(
    tmp_path, monkeypatch, trajectory, took_ms, refused
):
    clock(monkeypatch, [t / 1e3 for t in took_ms])
    outputs = dict(load_embodiment(GOLDEN / "joint_robot.yaml").outputs)
    if trajectory:
        outputs["arm"] = replace(outputs["arm"], type="joint_trajectory")
    if refused is None:
        found = joint_robot(tmp_path, outputs=outputs)
        assert found.bodies.worst_s == pytest.approx(2e-3 * took_ms[0])
    else:
        with pytest.raises(ValueError, match=re.escape(refused)):
            joint_robot(tmp_path, outputs=outputs)


@pytest.mark.parametrize(("tool", "worst_ms"), [(True, 2.0), (False, 0.2)])
def test_what_is_measured_is_one_look_and_the_longest_way_to_a_pose(
    tmp_path, monkeypatch, tool, worst_ms
):
    """By a clock that goes on by 0.1 ms with each configuration: one of a look, nine of eight steps to a pose."""
    count, place = [0], collisions.Bodies._place

    def counted(self, joints):
        count[0] += 1
        place(self, joints)

    monkeypatch.setattr(collisions.Bodies, "_place", counted)
    monkeypatch.setattr(collisions.time, "thread_time", lambda: 1e-4 * count[0])
    arm = robot(tmp_path) if tool else joint_robot(tmp_path)
    assert 1e3 * arm.bodies.worst_s == pytest.approx(worst_ms)


def two_arms(tmp_path, *, right_by_joints=False, **changes):
    """Left and right of a base that stands elsewhere; the left tool is a link, the right one a site in a link."""
    start, end = TEXT.index('<body name="base_link">'), TEXT.index("</worldbody>")
    sides = []
    for side, y in (("left", 0.24), ("right", -0.24)):
        one = re.sub(r"<site [^>]*/>", "", TEXT[start:end])
        one = one.replace("<geom ", '<geom contype="0" conaffinity="0" ')
        one = re.sub(r'joint name="', f'joint name="{side}/', one)
        one = re.sub(r'body name="', f'body name="{side}_', one)
        one = one.replace(f'name="{side}_base_link"', f'name="{side}_base_link" pos="0 {y} 0"')
        site = f'<site name="{side}_ee_gripper_link"/>' if side == "right" else ""
        tool = f'<body name="{side}_ee_gripper_link" pos="0.139 0 0">{site}</body>'
        joint = f'<joint name="{side}/wrist_rotate" axis="1 0 0"/>'
        sides.append(one.replace(joint, joint + tool))
    text = f"<mujoco><compiler angle='radian'/><worldbody>{BASE}{''.join(sides)}</body></worldbody></mujoco>"
    embodiment = load_embodiment("vx300s_pair")
    if right_by_joints:
        left, left_hand, right, right_hand = embodiment.actions
        names = tuple(f"joint.{n}" for n in embodiment.joint_names if n.startswith("right/"))
        right = replace(
            right, space="joint_position", unit="rad", rotation=None, frame=None, names=names
        )
        limits = replace(
            embodiment.limits.groups["right_arm"], joint_speed_per_s=np.ones(6),
            joint_acceleration_per_s2=np.ones(6),
        )  # fmt: skip
        groups = {**embodiment.limits.groups, "right_arm": limits}
        changes |= {
            "actions": (left, left_hand, right, right_hand),
            "limits": replace(embodiment.limits, groups=groups),
        }
    file = tmp_path / "pair.xml"
    file.write_text(text)
    model = Model(file, 0.0, (), joint_margin=0.1, singular_value=0.0)
    return robot_of(replace(embodiment, model=model, **changes))


def pose_of(side, joints):
    return np.add(pose(joints), [0, {"left": 0.24, "right": -0.24}[side], 0, 0, 0, 0, 0])


NEAR = np.add(HOME, [0.1, 0.1, -0.1, 0.1, 0.1, 0.1])
BENT = np.add(
    NEAR, [0, 0, 0.9, 0, 0, 0]
)  # 0.05 rad before the end that the test gives both elbows


@pytest.mark.parametrize(
    ("left", "right", "code_", "words"),
    [
        (NEAR, NEAR, None, ""),
        (HOME, NEAR, None, ""),
        (NEAR, BENT, "joint_limit", "right_arm: right/elbow would be 0.0"),
        (BENT, NEAR, "joint_limit", "left_arm: left/elbow would be 0.0"),
    ],
)
def test_each_of_two_arms_has_its_own_tool_and_joints(tmp_path, left, right, code_, words):
    bounds = load_embodiment("vx300s_pair").joints
    upper = np.array(bounds.upper)
    upper[[2, 8]] = BENT[2] + 0.05
    arms = two_arms(tmp_path, joints=replace(bounds, upper=upper))
    wanted = np.array([*pose_of("left", left), 0.5, *pose_of("right", right), 0.5])
    here = np.concatenate((left - 0.08, right - 0.08))
    found = arms.bodies.problem(RobotState(here, 1), wanted)
    assert code(found) == code_
    assert words in (found.detail if found else "")


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_arm_that_cannot_reach_is_named(tmp_path, side):
    arms, wanted = two_arms(tmp_path), np.array([])
    for one in ("left", "right"):
        far = [3.0, 0, 0, 0, 0, 0, 0] if one == side else np.zeros(7)
        wanted = np.concatenate((wanted, pose_of(one, NEAR) + far, [0.5]))
    found = arms.bodies.problem(RobotState(np.tile(HOME, 2), 1), wanted)
    assert found.code == "unreachable" and found.detail.startswith(
        f"{side}_arm: the joints reach it"
    )


def test_joints_that_move_no_tool_need_no_margin_for_one(tmp_path):
    arms = two_arms(tmp_path, right_by_joints=True)
    end = np.array(HOME)
    end[2] = arms.embodiment.joints.upper[8] - 0.01
    here = RobotState(np.concatenate((NEAR, HOME)), 1)
    wanted = np.array([*pose_of("left", HOME), 0.5, *end, 0.5])
    assert arms.bodies.problem(here, wanted) is None
