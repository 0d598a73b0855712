"""What text alone tells: which number, or none; and when it is not said."""

import pytest
import torch

from vla_policy.models.reader import FIGURES, Reader

NONE = FIGURES


def reader(first: int, second: int, sure: float = 9.0) -> Reader:
    """One that reads these figures of any text, and adds their values."""
    made = Reader(8, 8).eval()
    with torch.no_grad():
        for head in (made.readings, made.unclear):
            head[-1].weight.zero_()
            head[-1].bias.fill_(0.0)
        made.readings[-1].bias[first] = made.readings[-1].bias[NONE + 1 + second] = sure
        worth = torch.tensor([*range(FIGURES), 0.0]) / FIGURES
        made.number.weight.copy_(torch.cat((worth, worth))[None])
        made.number.bias.zero_()
    return made


@pytest.mark.parametrize(
    ("first", "second", "number"),
    [(3, NONE, 3), (2, 3, 5), (0, NONE, 0), (4, 5, 9), (NONE, NONE, None), (6, 7, None)],
)
def test_a_figure_is_what_the_readings_are_worth_together(
    first: int, second: int, number: int | None
) -> None:
    assert reader(first, second).figure(torch.zeros(8)) == number


def test_what_is_not_read_surely_is_no_figure() -> None:
    assert reader(3, NONE, sure=1.0).figure(torch.zeros(8)) is None
    between = reader(3, NONE)
    between.number.bias.data.fill_(0.05)
    assert between.figure(torch.zeros(8)) is None


@pytest.mark.parametrize(("bias", "unclear"), [(2.0, True), (-2.0, False)])
def test_unclear_is_what_the_head_says(bias: float, unclear: bool) -> None:
    made = reader(3, NONE)
    made.unclear[-1].bias.data.fill_(bias)
    assert made.is_unclear(torch.zeros(8)) is unclear
