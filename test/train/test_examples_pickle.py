"""What goes to loader processes: a policy without its weights, of every family, makes the same examples there."""

from dataclasses import replace

import pytest
import torch
import training_cases
from worker_copy import as_a_worker_gets

from vla_policy.train.mixture import Sample
from vla_policy.train.setup import ExampleMaker, Sizes


@pytest.mark.parametrize("family", ["pi0", "pi05", "smolvla", "rt2", "openvla", "tiny"])
def test_an_example_is_the_same_in_another_process(family, tmp_path):
    case = training_cases.CASES[family](tmp_path)
    lean = replace(case.checkpoint, model=Sizes(case.checkpoint.model.config), engine=None, naming=None)  # fmt: skip
    there = as_a_worker_gets(ExampleMaker(lean, ()))
    mine = case.training.example(case.checkpoint, (), case.demonstration(3))
    theirs = there(Sample(case.demonstration(3), 0, "", 0))
    assert mine.keys() == theirs.keys()
    assert not [k for k in mine if not torch.equal(mine[k], theirs[k])]
