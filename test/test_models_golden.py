"""The networks against tensors made by lerobot 0.4.4's pi0 (test/golden/ref_pi0_tiny.safetensors).

Random weights, 3 layers, 3 cameras of which one is masked in part of the batch, fp32 on the CPU.
"""

import pytest
import torch

from vla_policy.models import flow
from vla_policy.models.mask import block_mask
from vla_policy.models.vla import VLA, Prefix


def test_image_features(pi0_model: VLA, pi0_golden: dict[str, torch.Tensor]) -> None:
    features = pi0_model.projector(pi0_model.vision(pi0_golden["in.image0"]))
    torch.testing.assert_close(features, pi0_golden["out.img0_features"], atol=1e-5, rtol=0)


def test_masks(pi0_prefix: Prefix, pi0_golden: dict[str, torch.Tensor]) -> None:
    assert torch.equal(pi0_prefix.valid, pi0_golden["out.prefix_pad"])
    starts = torch.zeros(2, 69, dtype=torch.bool)
    starts[:, [60, 61]] = True  # state, then actions
    valid = torch.cat((pi0_prefix.valid, torch.ones(2, 9, dtype=torch.bool)), 1)
    assert torch.equal(block_mask(starts, valid), pi0_golden["out.att_2d"])


@pytest.mark.parametrize(("steps", "tolerance"), [(1, 1e-5), (10, 1e-4)])
def test_actions(
    pi0_model: VLA,
    pi0_prefix: Prefix,
    pi0_golden: dict[str, torch.Tensor],
    steps: int,
    tolerance: float,
) -> None:
    with torch.no_grad():
        actions = flow.integrate(
            lambda x, t: pi0_model.flow(pi0_prefix, pi0_golden["in.state"], x, t),
            pi0_golden["in.noise"],
            steps,
        )
    torch.testing.assert_close(actions, pi0_golden[f"out.actions{steps}"], atol=tolerance, rtol=0)


def test_loss(pi0_model: VLA, pi0_prefix: Prefix, pi0_golden: dict[str, torch.Tensor]) -> None:
    noisy, velocity = flow.interpolate(
        pi0_golden["in.actions"], pi0_golden["in.noise"], pi0_golden["in.time"]
    )
    with torch.no_grad():
        predicted = pi0_model.flow(
            pi0_prefix, pi0_golden["in.state"], noisy, pi0_golden["in.time"]
        )
    torch.testing.assert_close(
        (predicted - velocity).square(), pi0_golden["out.loss"], atol=1e-5, rtol=1e-5
    )
