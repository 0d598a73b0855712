"""The value that recorder, converters and readers share."""

import numpy as np
import pytest
from worker_copy import as_a_worker_gets

from vla_policy.data.frame import Frame


def frame(**changed):
    values = {
        "stamp_ns": 5,
        "images": {"front": np.arange(12, dtype=np.uint8).reshape(2, 2, 3)},
        "state": [0.5, 1.0],
        "action": [0.25],
        "proposed": [np.nan],
        "control_source": "policy",
        "intervention": False,
        "guard_level": 0,
        "valid": True,
        "task": "push",
        "ages_s": {"front": 0.01},
    }
    return Frame(**(values | changed))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"images": {"front": np.zeros((2, 2), np.uint8)}},
            r"images\['front'\]: got uint8\[2, 2\]",
        ),
        ({"state": [np.nan, 0]}, r"state: not finite in columns \[0\]"),
        ({"action": [np.inf]}, "action: not finite"),
        ({"proposed": [0, 0]}, "proposed: got 2 columns, expected 1"),
        ({"control_source": "me"}, "control_source: got 'me'"),
        ({"guard_level": 4}, "guard_level: got 4"),
        ({"state": [[0.0]]}, "state: got shape"),
    ],
)
def test_what_is_no_frame_is_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        frame(**changed)


def test_a_frame_cannot_be_changed_and_goes_to_another_process():
    whole = frame()
    with pytest.raises(ValueError, match="read-only"):
        whole.images["front"][0, 0, 0] = 1
    there = as_a_worker_gets(whole)
    assert there.images["front"].tolist() == whole.images["front"].tolist()
    assert (there.state.dtype, there.task, dict(there.ages_s)) == (
        np.float32,
        "push",
        {"front": 0.01},
    )
    assert np.isnan(there.proposed).all()
