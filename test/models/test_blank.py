"""Networks that are built for the weights of a file."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from vla_policy.models.blank import without_weights

LOADS = """
import sys
from vla_policy.policy import load_policy
load_policy("tiny")
assert not {"torch._dynamo", "sympy"} & set(sys.modules)
"""


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(3, 2)
        self.words = nn.Embedding(5, 4)
        self.register_buffer("grid", (torch.arange(4) + 0.5) / 4, persistent=False)


def test_weights_have_shapes_and_no_memory_and_constants_are_computed():
    with without_weights():
        net = Net()
    assert all(p.is_meta for p in net.parameters())
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == {
        "line.weight": (2, 3), "line.bias": (2,), "words.weight": (5, 4),
    }  # fmt: skip
    assert net.grid.tolist() == [0.125, 0.375, 0.625, 0.875]


def test_no_random_number_is_drawn_inside_and_all_is_as_before_afterwards():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    with without_weights():
        Net()
    assert torch.equal(torch.rand(1), expected)
    assert not Net().words.weight.is_meta and Net().words.weight.std() > 0.1


@pytest.mark.slow
def test_a_process_that_loads_a_policy_does_not_load_the_compiler():
    done = subprocess.run(
        [sys.executable, "-c", LOADS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
