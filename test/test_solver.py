"""Solvers by their order of convergence on a known field; guidance and candidates by what they must equal."""

import math

import numpy as np
import pytest
import torch

from vla_policy import sampling
from vla_policy.models import flow
from vla_policy.policy import load_policy
from vla_policy.sampling import Sampling
from vla_policy.types import Observation


def field(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """dx/dt = x (1 + t), so that x(0) = x(1) exp(-3 / 2)."""
    return x * (1 + t.double())[:, None, None]


EXACT = math.exp(-1.5)


def error(name: str, steps: int) -> float:
    start = torch.ones(1, 1, 1, dtype=torch.float64)
    return abs(flow.integrate(field, start, steps, solver=name).item() - EXACT)


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_order_of_convergence(name: str, order: int) -> None:
    ratios = [error(name, n) / error(name, 2 * n) for n in (20, 40, 80)]
    assert all(0.85 * 2**order < r < 1.2 * 2**order for r in ratios), ratios


@pytest.mark.parametrize(("name", "calls"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_times_are_those_of_integrate(name: str, calls: int) -> None:
    seen = flow.times(10, name)
    assert len(seen) == 10 * calls
    assert seen[0] == 1.0
    assert min(seen) > 0.0 or (name == "heun" and min(seen) == 0.0)
    if name == "euler":
        torch.testing.assert_close(torch.tensor(seen), torch.arange(10, 0, -1) / 10)


@pytest.mark.parametrize(
    ("name", "steps", "says"), [("rk9", 10, "solver: got 'rk9'"), ("euler", 0, "num_steps: got 0")]
)
def test_refusals(name: str, steps: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        flow.integrate(field, torch.ones(1, 1, 1), steps, solver=name)


def test_guidance() -> None:
    x, t = torch.randn(2, 3, 4), torch.ones(2)
    with_, without = (lambda x, t: 2 * x), (lambda x, t: x - 1)
    calls = []

    def counted(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return without(x, t)

    assert torch.equal(flow.with_guidance(with_, counted, 1.0)(x, t), with_(x, t))
    assert not calls
    torch.testing.assert_close(flow.with_guidance(with_, without, 0.0)(x, t), without(x, t))
    torch.testing.assert_close(
        flow.with_guidance(with_, without, 3.0)(x, t), 3 * 2 * x - 2 * (x - 1)
    )
    for bad in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="guidance: got"):
            flow.with_guidance(with_, without, bad)


def test_candidate_noise_is_that_of_a_single_run() -> None:
    many = flow.candidate_noise(7, 3, (5, 4))
    for row, seed in zip(many, (7, 8, 9), strict=True):
        single = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(seed))[0]
        assert torch.equal(row, single)
    assert not torch.equal(
        flow.candidate_noise(None, 1, (5, 4)), flow.candidate_noise(None, 1, (5, 4))
    )


def test_every_named_solver_is_there() -> None:
    assert tuple(flow.SOLVERS) == sampling.SOLVERS


def test_candidates_of_a_policy_are_single_runs() -> None:
    policy = load_policy("tiny")
    rng = np.random.default_rng(5)
    side = policy.contract.image_px
    observation = Observation(
        images={
            n: rng.integers(0, 255, (side, side, 3), dtype=np.uint8)
            for n in policy.contract.camera_names
        },
        state=np.array([0.3, 0.0, 0.2, 0.0, 0.7071, 0.0, 0.7071, 0.5]),
        state_names=policy.contract.state_names,
        instruction="put the red cube in the tray",
        obs_ns=1,
    )
    many = policy.infer_candidates(observation, Sampling(seed=3, candidates=3, solver="heun"))
    for i, chunk in enumerate(many):
        single = policy.infer(observation, seed=3 + i, solver="heun")
        np.testing.assert_allclose(chunk.model_actions, single.model_actions, atol=1e-5)
    euler = policy.infer(observation, seed=3)
    assert np.abs(euler.model_actions - many[0].model_actions).max() > 1e-4
