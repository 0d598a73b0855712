"""Rows in steps, degrees and other rotations become the absolute rows that they mean."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import POSE, layout_of
from vla_policy.execution.history import KEEP_NS, History, at, remember
from vla_policy.execution.to_absolute import References, as_executed, is_relative, resolve
from vla_policy.geometry.quaternions import quaternion_to_rotvec, rotvec_to_quaternion
from vla_policy.geometry.rotation_formats import from_r6d, from_rpy, quaternion_of, rotate
from vla_policy.types import ActionChunk, Reason

VX = load_embodiment("vx300s")
JOINTS = load_embodiment(Path(__file__).parents[1] / "golden" / "joint_robot.yaml")
EMBODIMENTS = Path(__file__).parents[2] / "config" / "embodiments"
OBS_NS = 10_000_000_000
RNG = np.random.default_rng(0)


def with_arm(robot, **changes):
    return replace(robot, actions=(replace(robot.actions[0], **changes), *robot.actions[1:]))


def chunk_of(robot, rows):
    return ActionChunk(rows, robot.action_names, OBS_NS, robot.step_ns, 0, "go")


def references(measured, commanded=None):
    past = History(((OBS_NS - 1000, np.full_like(measured, 9.0)), (OBS_NS, measured)))
    return References(past, History() if commanded is None else History(((OBS_NS, commanded),)))


def test_absolute_rows_of_an_executed_space_pass_through():
    rows = np.tile([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5], (4, 1))
    found = resolve(chunk_of(VX, rows), VX, References())
    assert np.array_equal(found.actions, rows)
    assert found.names == layout_of(VX).names


def test_what_is_executed_already_is_taken_as_it_is_by_a_robot_whose_policies_speak_in_steps():
    robot = load_embodiment("panda_cartesian")
    layout = layout_of(robot)
    row = [0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5]
    chunk = ActionChunk(np.tile(row, (4, 1)), layout.names, OBS_NS, robot.step_ns, 0, "")
    found = as_executed(chunk, robot)
    assert np.array_equal(found.actions, chunk.actions) and found.names == layout.names
    spoken = chunk_of(robot, np.zeros((4, len(robot.action_names))))
    assert as_executed(spoken, robot).code == "chunk_names"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("measured", [1.1, 1.3, 1.6]),
        ("commanded", [2.1, 2.3, 2.6]),
        ("chunk_start", [1.1, 1.2, 1.3]),
    ],
)
def test_joint_steps_by_reference(reference, expected):
    robot = with_arm(JOINTS, space="joint_delta", reference=reference)
    rows = np.zeros((3, 7))
    rows[:, 0] = [0.1, 0.2, 0.3]
    rows[:, 6] = [0.0, 1.0, 0.0]
    measured, commanded = np.full(7, 1.0), np.full(7, 2.0)
    found = resolve(chunk_of(robot, rows), robot, references(measured, commanded))
    assert found.actions[:, 0] == pytest.approx(expected)
    assert found.actions[:, 6].tolist() == [0.0, 1.0, 0.0]  # the gripper is no step
    assert found.names == layout_of(robot).names


def test_before_the_first_command_steps_start_where_the_robot_is():
    robot = with_arm(JOINTS, space="joint_delta", reference="commanded")
    found = resolve(chunk_of(robot, np.zeros((2, 7))), robot, references(np.full(7, 1.0)))
    assert found.actions[0, 0] == 1.0
    reason = resolve(chunk_of(robot, np.zeros((2, 7))), robot, References())
    assert isinstance(reason, Reason) and reason.code == "no_position"


def test_degrees_become_the_joints_unit():
    robot = with_arm(JOINTS, unit="deg")
    rows = np.full((1, 7), 90.0)
    rows[:, 6] = 0.5
    found = resolve(chunk_of(robot, rows), robot, References())
    assert found.actions[0, 0] == pytest.approx(np.pi / 2)
    assert found.actions[0, 6] == 0.5


def test_degrees_of_a_robot_whose_own_unit_they_are_stay():
    joints = replace(JOINTS.joints, unit="deg")
    robot = with_arm(replace(JOINTS, joints=joints), unit="deg")
    found = resolve(chunk_of(robot, np.full((1, 7), 90.0)), robot, References())
    assert found.actions[0, 0] == 90.0


def test_each_arm_starts_from_where_itself_was():
    robot = load_embodiment("vx300s_pair")
    steps = tuple(
        replace(g, space="ee_delta", reference="measured", frame=robot.base_frame)
        if g.space == "ee_pose"
        else g
        for g in robot.actions
    )
    robot = replace(robot, actions=steps[:3])  # an arm, its hand, the other arm
    width = len(robot.action_names)
    rows = np.zeros((2, width))
    rows[:, [n.endswith(".qw") for n in robot.action_names]] = 1.0
    measured = np.linspace(0.1, 0.9, width)
    for part in layout_of(robot).of_kind(POSE):
        measured[part.rotation] /= np.linalg.norm(measured[part.rotation])
    found = resolve(chunk_of(robot, rows), robot, references(measured))
    for part in layout_of(robot).of_kind(POSE):
        assert found.actions[1, part.columns] == pytest.approx(measured[part.columns])


def ee_robot(rotation, **changes):
    columns = {"rpy": ("roll", "pitch", "yaw"), "rotation_vector": ("rx", "ry", "rz")}[rotation]
    names = tuple(f"ee.{n}" for n in ("x", "y", "z", *columns))
    return with_arm(VX, rotation=rotation, names=names, **changes)


@pytest.mark.parametrize("rotation", ["rpy", "rotation_vector"])
@pytest.mark.parametrize("reference", ["measured", "chunk_start"])
@pytest.mark.parametrize("frame", ["base_link", "ee_gripper_link"])
def test_pose_steps_agree_with_rotation_matrices(rotation, reference, frame):
    """Against 3x3 matrices, composed on the left along the base's axes, on the right along the tool's."""
    robot = ee_robot(rotation, space="ee_delta", reference=reference, frame=frame)
    rows = RNG.uniform(-0.3, 0.3, (5, 7))
    start = np.array([0.3, 0.1, 0.2, *rotvec_to_quaternion(np.array([0.4, -0.2, 0.9])), 0.5])
    found = resolve(chunk_of(robot, rows), robot, references(start))
    position, matrix = start[:3], matrix_of(start[3:7])
    for row, pose in zip(rows, found.actions, strict=True):
        turn = rpy_matrix(row[3:6]) if rotation == "rpy" else rotvec_matrix(row[3:6])
        if frame == "base_link":
            next_position, next_matrix = position + row[:3], turn @ matrix
        else:
            next_position, next_matrix = position + matrix @ row[:3], matrix @ turn
        assert pose[:3] == pytest.approx(next_position)
        assert matrix_of(pose[3:7]) == pytest.approx(next_matrix)
        if reference == "measured":
            position, matrix = next_position, next_matrix


def test_six_numbers_and_euler_angles_are_the_rotation_they_mean():
    angles = RNG.uniform(-3, 3, (50, 3))
    matrices = np.stack([rpy_matrix(a) for a in angles])
    columns = np.concatenate((matrices[:, :, 0], matrices[:, :, 1]), axis=1)
    for matrix, a, b in zip(matrices, from_rpy(angles), from_r6d(columns * 3.0), strict=True):
        assert matrix_of(a) == pytest.approx(matrix)
        assert matrix_of(b) == pytest.approx(matrix)
        assert matrix_of(quaternion_of(matrix)) == pytest.approx(matrix)
    half_turn = rotvec_matrix(np.array([0.0, np.pi, 0.0]))
    assert np.linalg.norm(quaternion_to_rotvec(quaternion_of(half_turn))) == pytest.approx(np.pi)
    vector = np.array([1.0, 2.0, 3.0])
    assert rotate(from_rpy(angles[:1])[0], vector) == pytest.approx(matrices[0] @ vector)


POSE_ROW = [0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        ({}, None, ""),
        ({"names": VX.action_names[::-1]}, "chunk_names", "the robot ee.x, ee.y"),
        ({"step_ns": 101_000_000}, None, ""),
        ({"step_ns": 101_000_001}, "chunk_step", "every 101000001 ns, the robot 100000000 ns"),
        ({"step_ns": 99_000_000}, None, ""),
        ({"step_ns": 98_999_999}, "chunk_step", "98999999"),
        ({"actions": np.full((2, 8), np.nan)}, "chunk_not_finite", "ee.x of row 0 is nan"),
        ({"actions": np.array([POSE_ROW, [*POSE_ROW[:7], np.inf]])}, "chunk_not_finite", "gripper of row 1 is inf"),
        ({"actions": np.zeros((2, 8))}, "chunk_quaternion", "action group 'arm'"),
        ({"actions": np.array([POSE_ROW, [*POSE_ROW[:6], 1.0499, 0.5]])}, None, ""),
        ({"actions": np.array([POSE_ROW, [*POSE_ROW[:6], 1.0501, 0.5]])}, "chunk_quaternion", "1.05"),
        ({"actions": np.array([POSE_ROW, [*POSE_ROW[:6], 0.9499, 0.5]])}, "chunk_quaternion", "0.9499"),
    ],
)  # fmt: skip
def test_a_chunk_that_is_no_action_of_this_robot_is_named(change, code, word):
    good = chunk_of(VX, np.tile(POSE_ROW, (2, 1)))
    found = resolve(replace(good, **change), VX, References())
    if code is None:
        assert found.actions[:, :3].tolist() == [POSE_ROW[:3]] * 2
    else:
        assert found.code == code and word in found.detail


def test_of_several_values_that_are_no_numbers_the_first_is_named():
    rows = np.tile(POSE_ROW, (3, 1))
    rows[1, 1], rows[2, 0] = np.nan, np.inf
    assert "ee.y of row 1" in resolve(chunk_of(VX, rows), VX, References()).detail


def test_steps_that_add_up_to_no_number_are_refused():
    robot = with_arm(JOINTS, space="joint_delta", reference="measured")
    rows = np.zeros((3, 7))
    rows[1:, 2] = 1e308
    with np.errstate(over="ignore"):
        reason = resolve(chunk_of(robot, rows), robot, references(np.zeros(7)))
    assert reason == Reason("chunk_not_finite", "joint.elbow of row 2 is inf")


def test_a_measured_quaternion_that_is_not_quite_of_length_one_does_not_grow():
    robot = ee_robot("rotation_vector", space="ee_delta", reference="measured", frame="base_link")
    start = np.array([0.3, 0.1, 0.2, 0.0, 0.0, 0.6, 0.81, 0.5])
    found = resolve(chunk_of(robot, np.full((40, 7), 0.1)), robot, references(start))
    assert np.linalg.norm(found.actions[:, 3:7], axis=1) == pytest.approx(np.ones(40), abs=1e-12)
    assert found.actions[:, 2] == pytest.approx(0.2 + 0.1 * np.arange(1, 41))


def test_history_answers_with_what_stood_then():
    history = History()
    for stamp_ns in (0, 10, 20, 20, 5):
        history = remember(history, stamp_ns, np.array([1000.0 + stamp_ns]))
    assert [ns for ns, _ in history.samples] == [0, 10, 20]
    assert [at(history, t)[0] for t in (-5, 0, 9, 10, 99)] == [1000, 1000, 1000, 1010, 1020]
    late = remember(history, KEEP_NS + 15, np.zeros(1))
    assert [ns for ns, _ in late.samples] == [20, KEEP_NS + 15]
    late = remember(history, KEEP_NS + 20, np.zeros(1))
    assert [ns for ns, _ in late.samples] == [20, KEEP_NS + 20]
    assert at(History(), 5) is None


def test_what_stood_before_all_that_is_kept_is_not_known():
    """A chunk may be older than the places that are remembered; its steps are then added to none of them."""
    robot = with_arm(JOINTS, space="joint_delta", reference="measured")
    history = History()
    for age_ms in range(4000, -1, -100):
        place = np.full(7, -0.001 * age_ms)
        history = remember(history, OBS_NS - age_ms * 1_000_000, place)
    chunk = chunk_of(robot, np.zeros((2, 7)))
    for age_ns, known in ((KEEP_NS, True), (KEEP_NS + 1, False), (3 * 10**9, False)):
        found = resolve(replace(chunk, obs_ns=OBS_NS - age_ns), robot, References(history))
        assert isinstance(found, Reason) != known
        if known:
            assert found.actions[0, 0] == pytest.approx(-2.0)
        else:
            assert found.code == "no_position" and "not known" in found.detail


def test_what_is_kept_reaches_as_far_back_as_a_chunk_of_any_shipped_robot_may():
    names = [path.stem for path in EMBODIMENTS.glob("*.yaml")]
    ages_s = [load_embodiment(name).limits.max_chunk_age_s for name in names]
    assert len(names) > 8 and max(ages_s) * 1e9 <= KEEP_NS


def test_a_robot_needs_to_know_where_it_was_if_any_of_its_groups_goes_in_steps():
    assert not is_relative(VX)
    assert is_relative(with_arm(VX, reference="measured"))
    assert is_relative(with_arm(VX, reference="chunk_start"))


def matrix_of(q):
    return np.stack([rotate(q, axis) for axis in np.eye(3)], axis=1)


def rotvec_matrix(vector):
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def rpy_matrix(angles):
    a, b, c = angles
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return rz @ ry @ rx
