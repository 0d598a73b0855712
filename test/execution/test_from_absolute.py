"""What is executed, written as a policy writes it, and resolved again: nothing changes."""

from dataclasses import replace

import numpy as np
import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.embodiment.spaces import ROTATIONS
from vla_policy.execution.from_absolute import Anchors, written
from vla_policy.execution.history import History, remember
from vla_policy.execution.to_absolute import References, resolve
from vla_policy.geometry import rotation_formats
from vla_policy.types import ActionChunk

FORMS = {"quaternion_xyzw": 7, "rpy": 6, "rotation_vector": 6, "r6d": 9}


def rows_of(robot, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    layout = layout_of(robot)
    rows = rng.uniform(0.1, 0.6, (count, len(layout.names)))
    for part in layout.of_kind("pose"):
        q = rng.normal(size=(count, 4))
        rows[:, part.rotation] = q / np.linalg.norm(q, axis=1, keepdims=True)
    return rows


def robots():
    """Every shipped kind of action, and steps of a tool from each reference, in each frame and form."""
    for name in ("vx300s", "xarm7", "panda_cartesian", "aloha", "vx300s_mobile"):
        yield load_embodiment(name)
    arm = load_embodiment("panda_cartesian")
    group = arm.actions[0]
    for reference in ("measured", "commanded", "chunk_start"):
        for frame in (arm.base_frame, arm.tool_frame):
            for form, names in ROTATIONS.items():
                columns = (*group.names[:3], *names)
                own = replace(
                    group, reference=reference, frame=frame, rotation=form, names=columns
                )
                yield replace(arm, actions=(own, *arm.actions[1:]))
    joints = load_embodiment("xarm7")
    degrees = replace(joints.actions[0], unit="deg", reference="chunk_start")
    yield replace(joints, actions=(degrees, *joints.actions[1:]))


@pytest.mark.parametrize("number", range(5 + 3 * 2 * 4 + 1))
def test_resolving_what_was_written_gives_the_rows_again(number):
    robot = list(robots())[number]
    rows, anchor = rows_of(robot, 5, number), rows_of(robot, 2, 100 + number)
    said = written(rows, robot, Anchors(measured=anchor[0], commanded=anchor[1]))
    assert said.shape == (5, len(robot.action_names))
    chunk = ActionChunk(said, robot.action_names, 10**9, robot.step_ns, 0, "go")
    measured, commanded = (remember(History(), 10**9, row) for row in anchor)
    references = References(measured, commanded)
    resolved = resolve(chunk, robot, references)
    for part in layout_of(robot).parts:
        got, expected = resolved.actions[:, part.columns], rows[:, part.columns]
        if part.kind == "pose":
            turned = np.sign(np.sum(got[:, 3:] * expected[:, 3:], 1, keepdims=True))
            got = np.concatenate((got[:, :3], got[:, 3:] * turned), 1)
        assert np.allclose(got, expected, atol=1e-9), part.group


def test_a_step_from_what_was_not_measured_is_refused_by_name():
    robot = load_embodiment("panda_cartesian")
    rows = rows_of(robot, 2, 0)
    unknown = np.full(rows.shape[1], np.nan)
    with pytest.raises(ValueError, match="is relative to what is measured, which is not known"):
        written(rows, robot, Anchors(unknown, unknown))


@pytest.mark.parametrize("form", FORMS)
def test_rotations_are_written_and_read_back(form):
    rng = np.random.default_rng(0)
    q = rng.normal(size=(500, 4))
    upright = np.array([[0, np.sin(np.pi / 4), 0, np.cos(np.pi / 4)]])  # pitch of 90 degrees
    yawed = rotation_formats.quaternion_multiply(
        np.array([[0, 0, np.sin(0.3), np.cos(0.3)]]), upright
    )
    q = np.concatenate((q / np.linalg.norm(q, axis=1, keepdims=True), upright, yawed))
    back = rotation_formats.QUATERNION[form](rotation_formats.WRITTEN[form](q))
    assert np.allclose(np.abs(np.sum(back * q, 1)), 1.0, atol=1e-9)
