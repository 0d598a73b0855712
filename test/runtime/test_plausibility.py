"""Cameras that are taken for each other, by the frames of their pictures."""

import pytest

from vla_policy.runtime.plausibility import swapped_cameras


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        ({"front": "front_optical_frame", "wrist": "wrist_optical_frame"}, None),
        ({"front": "Wrist_optical_frame", "wrist": "front_optical_frame"}, ("front", "wrist")),
        ({"front": "wrist_optical_frame", "wrist": "wrist_optical_frame"}, None),
        ({"front": "camera_optical_frame", "wrist": ""}, None),
        ({"left": "left_optical", "left_wrist": "left_wrist_optical"}, None),
        ({"left": "left_wrist_optical", "left_wrist": "left_optical"}, ("left", "left_wrist")),
        (
            {"left": "left_optical", "left_wrist": "right_optical", "right": "left_wrist_optical"},
            ("left_wrist", "right"),
        ),
        ({"front": "front_beside_wrist", "wrist": "wrist_below_front"}, None),
    ],
)
def test_two_cameras_are_exchanged_if_each_bears_the_name_of_the_other(frames, found):
    assert swapped_cameras(frames) == found
