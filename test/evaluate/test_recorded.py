"""A policy over recorded observations: errors of known size come out by column and by time."""

import cv2
import numpy as np
import pytest

from vla_policy.data.frame import Frame
from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.lerobot.writer import SetWriter
from vla_policy.embodiment import load_embodiment
from vla_policy.evaluate.error_picture import write_picture
from vla_policy.evaluate.recorded import compare, table
from vla_policy.runtime.policy_protocol import PlainContract, PlainPolicy
from vla_policy.types import ActionChunk

ROBOT = load_embodiment("vx300s")
FPS, FRAMES, ROWS = 10, 30, 8


def action(k):
    return np.array([0.3 + 0.01 * k, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5])


class Knows(PlainPolicy):
    """Says what was commanded, but for off_m in y that grows with each row, and a turn about z."""

    rows = ROWS

    def __init__(self, off_m=0.0, turn_rad=0.0):
        self.contract = PlainContract(ROBOT.state_names, ROBOT.action_names)
        self.off_m, self.turn_rad, self.asked = off_m, turn_rad, []

    def infer_chunk(self, observation, previous, options):
        self.asked.append((observation.instruction, sorted(observation.images)))
        k = round((observation.obs_ns - 10**9) * FPS / 1e9)
        rows = np.array([action(k + j) for j in range(ROWS)])
        rows[:, 1] += self.off_m * np.arange(1, ROWS + 1)
        rows[:, 5], rows[:, 6] = np.sin(self.turn_rad / 2), np.cos(self.turn_rad / 2)
        return ActionChunk(rows, ROBOT.action_names, observation.obs_ns, ROBOT.step_ns, 0, "")


@pytest.fixture
def recorded(tmp_path):
    picture = np.zeros((16, 16, 3), np.uint8)
    with SetWriter(tmp_path / "set", ROBOT, FPS) as writer:
        writer.begin("lift the cube")
        for k in range(FRAMES):
            images = dict.fromkeys(ROBOT.cameras, picture)
            frame = Frame(k * 10**8 + 1, images, action(k), action(k), np.full(8, np.nan),
                          "teleop", False, 0, True, "")  # fmt: skip
            writer.add(frame, wait=True)
        writer.save(True)
    return open_set(tmp_path / "set")


def test_a_policy_that_says_what_was_done_has_no_error(recorded):
    policy = Knows()
    errors = compare(policy, recorded, ROBOT, episodes=[0], every=3)
    assert errors.values.shape == (10, ROWS, 5)
    assert np.nanmax(errors.values) == pytest.approx(0.0, abs=1e-6)
    assert set(map(str, policy.asked)) == {"('lift the cube', ['front', 'wrist'])"}
    # What is reached after the end of the episode is not judged.
    assert np.isnan(errors.values[-1, 3:]).all() and np.isfinite(errors.values[-1, :3]).all()


def test_errors_stand_in_their_column_and_time(recorded, tmp_path):
    errors = compare(Knows(0.002, 0.3), recorded, ROBOT, episodes=[0], every=3)
    assert errors.columns == ("ee.x", "ee.y", "ee.z", "ee.rotation", "gripper")
    assert errors.values[0, :, 1] == pytest.approx(0.002 * np.arange(1, ROWS + 1), abs=1e-6)
    assert errors.values[0, :, 3] == pytest.approx(np.full(ROWS, 0.3), abs=1e-6)
    assert errors.ahead_s == pytest.approx(0.1 * np.arange(1, ROWS + 1))
    line = next(line for line in table(errors) if line.startswith("ee.y"))
    assert [float(v) for v in line.split()[3:]] == pytest.approx([0.016, 0.002, 0.008, 0.016])
    write_picture(tmp_path / "errors.png", errors)
    picture = cv2.imread(str(tmp_path / "errors.png"))
    assert picture.shape[0] > 400 and (picture != picture[0, 0]).any()


def test_a_set_of_another_robot_is_refused(recorded):
    other = load_embodiment("so101")
    with pytest.raises(ValueError, match="got the action columns") as error:
        compare(Knows(), recorded, other, episodes=[0], every=1)
    assert "expected those of so101" in str(error.value)
