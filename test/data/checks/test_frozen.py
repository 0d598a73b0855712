"""A camera that stood still, told from rest, from an empty view and from the other arm's work."""

import numpy as np
import pytest

from vla_policy.data.checks.episode_data import CameraSummary, ColumnSums, EpisodeReport, StillRun
from vla_policy.data.checks.frozen import check_frozen

STATE = "observation.state"
NAMES = ("left.x", "right.x")
FRAMES = 40


def report(number: int, *still: StillRun) -> EpisodeReport:
    """An episode in which both columns go from 0 to 1."""
    zero, one = np.zeros(2), np.ones(2)
    camera = CameraSummary(np.zeros((2, 2, 3), np.float32), 50.0, FRAMES, (48, 64))
    return EpisodeReport(
        episode=number,
        findings=(),
        length=FRAMES,
        sums={STATE: ColumnSums(FRAMES, zero, one, one / 2, one, one)},
        names={STATE: NAMES},
        still=still,
        cameras={"left_wrist": camera, "front": camera},
    )


def run(camera="front", moved=(0.3, 0.3), *, jump=3.0, first=10, last=16, flagged=False):
    return StillRun(camera, first, last, {STATE: np.array(moved)}, flagged, jump)


def found(*still: StillRun, others: int = 5):
    reports = [report(0, *still), *(report(k + 1) for k in range(others))]
    return [(f.level, f.episode, f.frame) for f in check_frozen(reports)]


@pytest.mark.parametrize(
    ("still", "expected"),
    [
        (run(), [("error", 0, 10)]),
        (run(jump=1.0), [("warning", 0, 10)]),
        (run(jump=0.1), []),  # nothing was missed
        (run(moved=(0.01, 0.02)), []),  # at rest
        (run(flagged=True), []),
        (run(jump=None, first=30, last=39), [("warning", 0, 30)]),
        (run(jump=None, first=1, last=39), [("error", 0, 1)]),
        (run("left_wrist", (0.0, 0.5)), []),  # the other arm
        (run("left_wrist", (0.5, 0.0)), [("error", 0, 10)]),
        (run("front", (0.0, 0.5)), [("error", 0, 10)]),
    ],
)
def test_what_a_stretch_of_equal_images_is(still, expected):
    assert found(still) == expected


def test_a_camera_that_often_sees_nothing_move_is_one_doubt():
    often = [report(k, run(jump=None, first=1, last=39)) for k in range(3)]
    (only,) = check_frozen([*often, *(report(k) for k in range(3, 8))])
    assert (only.level, only.episode) == ("warning", None)
    assert "3 of 8 episodes" in only.says


def test_a_camera_that_is_dead_in_the_whole_set():
    (only,) = check_frozen([report(k, run(jump=None, first=1, last=39)) for k in range(3)])
    assert (only.level, only.episode) == ("warning", None)
