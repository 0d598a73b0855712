"""Values from a page as a parameter's type: what is none is refused in a sentence, before any node is asked."""

import pytest

pytest.importorskip("rclpy")

from vla_policy.ros.nodes.web_controls import _typed
from vla_policy.ros.nodes.web_teleop import _shares


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("int", 4, 4),
        ("float", 4, 4.0),
        ("float", 0.5, 0.5),
        ("bool", True, True),
        ("text", "a", "a"),
    ],
)
def test_values_of_their_kind(kind, value, found):
    typed = _typed({"name": "x", "kind": kind}, value)
    assert typed == found and type(typed) is type(found)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("int", value) for value in (4.0, "4", True, None, [4], 2**63)),
        *(("float", value) for value in ("1", True, None, float("nan"), float("inf"))),
        *(("bool", value) for value in (1, "true", None)),
        *(("text", value) for value in (1, None, {})),
    ],
)
def test_values_of_no_kind(kind, value):
    with pytest.raises(ValueError, match=r"^x: got .*, expected a"):
        _typed({"name": "x", "kind": kind}, value)


@pytest.mark.parametrize(
    "values", [None, "123456", [1] * 5, [1, 1, 1, 1, 1, 1.1], [True] * 6, [float("nan")] * 6]
)
def test_what_is_no_motion_of_a_hand(values):
    assert not _shares(values, 6, -1.0)
    assert _shares([1, -1, 0, 0.5, -0.5, 0], 6, -1.0)
