"""What is drawn over a picture, as JSON values: only where a camera's place is known, and nothing that is not before it."""

import json

import numpy as np

from vla_policy.embodiment import View
from vla_policy.runtime.tool_paths import ToolPath
from vla_policy.web.overlay import paths_over, place_over

ABOVE = View((0.0, 0.0, 1.0), (0.0, 0.0, 0.0), 90.0, (1.0, 0.0, 0.0))
POSES = np.array([[0.5, 0, 0, 0, 0, 0, 1], [0.0, 0.5, 0, 0, 0, 0, 1], [0, 0, 1.5, 0, 0, 0, 1]])


def test_a_path_is_a_place_for_each_row_and_a_gap_behind_the_camera():
    path = ToolPath("ee", POSES, np.array([1.0, 0.25, np.nan]))
    found = paths_over({"front": ABOVE}, [path])
    assert found == {
        "front": [{"tool": "ee", "at": [[0.0, -0.5], [-0.5, 0.0], None], "open": [1.0, 0.25, 0.0]}]
    }
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_without_a_gripper_or_a_known_camera_nothing_is_made_up():
    path = ToolPath("left.ee", POSES[:1], None)
    assert paths_over({"front": ABOVE}, [path])["front"][0]["open"] is None
    assert paths_over({}, [path]) == {} and place_over({}, POSES[0, :3]) == {}


def test_a_place_that_is_behind_the_camera_is_none():
    other = View((0.0, 0.0, -1.0), (0.0, 0.0, -2.0), 90.0, (1.0, 0.0, 0.0))
    assert place_over({"a": ABOVE, "b": other}, POSES[0, :3]) == {"a": [0.0, -0.5], "b": None}
