"""Solvers by their order of convergence on a known field; guidance and candidates by what they must equal."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_models import CONTRACT

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families import pi0
from vla_policy.models import flow, sampling
from vla_policy.models.engine import compile_engine
from vla_policy.models.sampling import Sampling
from vla_policy.policy import load_policy
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


@pytest.fixture(params=["plain", "engine"])
def pi0_checkpoint(request: pytest.FixtureRequest, pi0_model: torch.nn.Module) -> Checkpoint:
    engine = compile_engine(pi0_model) if request.param == "engine" else None
    return Checkpoint(pi0_model, CONTRACT, None, None, engine=engine)


@pytest.fixture
def pi0_inputs(pi0_model: torch.nn.Module) -> pi0.Pi0Inputs:
    torch.manual_seed(4)
    config = pi0_model.config
    side = config.vision.image_px
    text, without = torch.randint(1, config.vocab, (1, 7)), torch.randint(1, config.vocab, (1, 2))
    images = torch.rand(1, 2, 3, side, side) * 2 - 1
    return pi0.Pi0Inputs(images, text, without, torch.randn(1, config.state_dim))


def drawn(checkpoint: Checkpoint, inputs: pi0.Pi0Inputs, **options: object) -> np.ndarray:
    with torch.inference_mode():
        return pi0.sample(checkpoint, "flow", inputs, Sampling(seed=5, **options)).model_actions


def test_guidance_of_pi0(pi0_checkpoint: Checkpoint, pi0_inputs: pi0.Pi0Inputs) -> None:
    blank = replace(pi0_inputs, text=pi0_inputs.text_without)
    with_, without = (drawn(pi0_checkpoint, i, num_steps=1) for i in (pi0_inputs, blank))
    assert np.abs(with_ - without).max() > 1e-3

    def guided(scale: float) -> np.ndarray:
        return drawn(pi0_checkpoint, pi0_inputs, num_steps=1, guidance=scale)

    np.testing.assert_array_equal(guided(1.0), with_)
    np.testing.assert_allclose(guided(0.0), without, atol=1e-6)
    # One Euler step is linear in the velocity.
    np.testing.assert_allclose(guided(2.5), without + 2.5 * (with_ - without), atol=1e-5)
    with pytest.raises(ValueError, match="guidance: got -1"):
        guided(-1.0)


@pytest.mark.parametrize("solver", flow.SOLVERS)
def test_candidates_of_pi0(
    pi0_checkpoint: Checkpoint, pi0_inputs: pi0.Pi0Inputs, solver: str
) -> None:
    many = drawn(pi0_checkpoint, pi0_inputs, candidates=3, num_steps=3, solver=solver)
    for i in range(3):
        with torch.inference_mode():
            options = Sampling(seed=5 + i, num_steps=3, solver=solver)
            single = pi0.sample(pi0_checkpoint, "flow", pi0_inputs, options).model_actions
        np.testing.assert_allclose(many[i], single[0], atol=1e-5)
