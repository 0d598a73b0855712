"""Which models of bodies are taken, how long a look at one may take, and models of two arms."""

import re
from dataclasses import replace

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco", reason="comes with requirements/simulation.txt")

from chain_arm import (  # noqa: E402
    BASE,
    GOLDEN,
    HOME,
    TEXT,
    code,
    joint_robot,
    pose,
    robot,
)

from vla_policy.embodiment import Model, load_embodiment  # noqa: E402
from vla_policy.safety import collisions  # noqa: E402
from vla_policy.safety.robot import robot_of  # noqa: E402
from vla_policy.types import RobotState  # noqa: E402


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


@pytest.fixture
def instant(monkeypatch):
    """Two arms take a machine that is busy longer than they may; that is no matter of these tests."""
    monkeypatch.setattr(collisions.time, "thread_time", lambda: 0.0)


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


@pytest.mark.usefixtures("instant")
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


@pytest.mark.usefixtures("instant")
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


@pytest.mark.usefixtures("instant")
def test_joints_that_move_no_tool_need_no_margin_for_one(tmp_path):
    arms = two_arms(tmp_path, right_by_joints=True)
    end = np.array(HOME)
    end[2] = arms.embodiment.joints.upper[8] - 0.01
    here = RobotState(np.concatenate((NEAR, HOME)), 1)
    wanted = np.array([*pose_of("left", HOME), 0.5, *end, 0.5])
    assert arms.bodies.problem(here, wanted) is None
