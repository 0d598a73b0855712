"""Gradient checkpointing: less is kept, and every gradient is the same."""

import pytest
import torch
import training_cases

from vla_policy.train.recompute import recompute_layers


# pi0.5 has pi0's layers, and OpenVLA's are Llama's as SmolVLA's are.
@pytest.mark.parametrize(
    "family",
    [
        "pi0",
        "smolvla",
        "rt2",
        "tiny",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("pi05", "openvla")),
    ],
)
def test_loss_and_gradients_are_the_same(family, tmp_path):
    case = training_cases.CASES[family](tmp_path)
    model = case.checkpoint.model.train()
    batch = case.batch([case.demonstration(seed) for seed in range(2)])
    plain, kept = loss_and_gradients(case, model, batch)
    assert recompute_layers(model) == recompute_layers(model) > 1
    again, kept_again = loss_and_gradients(case, model, batch)
    assert kept_again < 0.7 * kept
    assert plain.keys() == again.keys()
    assert not [k for k in plain if not torch.equal(plain[k], again[k])]


def loss_and_gradients(case, model, batch):
    """By name, and how many numbers were kept for the way back."""
    kept: list[int] = []
    model.zero_grad(set_to_none=True)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.numel()) or t, lambda t: t
    ):
        loss = case.loss(batch)
    loss.total.backward()
    found = {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}
    return found | {"": loss.total.detach()}, sum(kept)
