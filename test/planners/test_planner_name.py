"""Which planners are refused before anything starts."""

import pytest

from vla_policy.planners.planner_name import require_planner


@pytest.mark.parametrize(
    ("planner", "model", "said"),
    [
        ("nonsense", "", "planner: got 'nonsense', expected none, model"),
        ("http://gpu:99999/v1", "words", "Port out of range"),
        ("http://gpu:8000/v1", "", "planner_model: got none"),
    ],
)
def test_a_planner_that_cannot_be_is_refused(planner, model, said):
    with pytest.raises(ValueError, match=said):
        require_planner(planner, model)


@pytest.mark.parametrize("planner", ["none", "model", "http://gpu:8000/v1"])
def test_others_are_not(planner):
    require_planner(planner, "words")
