"""The whole engine against the plain networks of pi0 and pi0.5, and what runs on which of them."""

from dataclasses import replace

import pytest
import torch
from engine_models import (
    BOTH,
    CAMERAS,
    CONTRACT,
    ENGINES,
    EXACT,
    MODELS,
    observation,
    prefixes,
    whole,
)

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families import FAMILIES
from vla_policy.families.family import network
from vla_policy.models import flow
from vla_policy.models.engine import compile_engine, engine_for
from vla_policy.models.engine.engine import Engine
from vla_policy.models.sampling import Pull, Sampling
from vla_policy.policy import load_policy

pytestmark = pytest.mark.usefixtures("seeded_inference")


@BOTH
@pytest.mark.parametrize("cameras", CAMERAS)
@pytest.mark.parametrize("solver", flow.SOLVERS)
def test_actions(kind: str, cameras: list[list[int]], solver: str) -> None:
    given, theirs, ours = prefixes(kind, cameras)
    model, engine, state = MODELS[kind], ENGINES[kind], given["state"]
    plain_, fast = (
        flow.integrate(lambda x, t: m.flow(p, state, x, t), given["noise"], 5, solver=solver)  # noqa: B023
        for m, p in ((model, theirs), (engine, ours))
    )
    torch.testing.assert_close(fast, plain_, **EXACT)
    valid = torch.tensor(cameras, dtype=torch.bool)
    at_once = engine.sample(
        given["images"], valid, given["text"], state, given["noise"], steps=5, solver=solver
    )
    torch.testing.assert_close(at_once, plain_, **EXACT)


@BOTH
def test_plain_products_of_small_weights(kind: str) -> None:
    given, theirs, _ = prefixes(kind, CAMERAS[2])
    valid = torch.tensor(CAMERAS[2], dtype=torch.bool)
    inputs = (given["images"], valid, given["text"], given["state"], given["noise"])
    velocity = lambda x, t: MODELS[kind].flow(theirs, given["state"], x, t)  # noqa: E731
    torch.testing.assert_close(
        compile_engine(MODELS[kind]).sample(*inputs, steps=5),
        flow.integrate(velocity, given["noise"], 5),
        **EXACT,
    )


def test_shipped_tiny() -> None:
    tiny = load_policy("tiny")
    model, engine = tiny.checkpoint.model, tiny.checkpoint.engine
    text = torch.cat((torch.randint(1, 300, (2, 9)), torch.zeros(2, 31, dtype=torch.long)), 1)
    text[1, 5:] = 0
    tokens, state, noise = torch.randn(2, 4, 39), torch.randn(2, 8), torch.randn(2, 10, 8)
    theirs, ours = (
        flow.integrate(lambda x, t: m.flow(p, state, x, t), noise, 10)  # noqa: B023
        for m, p in ((m, m.prefix(tokens, text, state)) for m in (model, engine))
    )
    torch.testing.assert_close(ours, theirs, **EXACT)


@BOTH
def test_times_of_each_row_and_each_observation(kind: str) -> None:
    given, theirs, ours = prefixes(kind, CAMERAS[2])
    for time in (torch.tensor([0.9, 0.2]), torch.rand(2, 9)):
        arguments = (given["state"], given["noise"], time)
        torch.testing.assert_close(
            ENGINES[kind].flow(ours, *arguments), MODELS[kind].flow(theirs, *arguments), **EXACT
        )


@BOTH
def test_candidates(kind: str) -> None:
    given, theirs, ours = prefixes(kind, CAMERAS[2])
    noise, time = torch.randn(6, 9, 8), torch.full((6,), 0.5)
    state = given["state"].repeat_interleave(3, 0)
    torch.testing.assert_close(
        ENGINES[kind].flow(ours.repeat(3), state, noise, time),
        MODELS[kind].flow(theirs.repeat(3), state, noise, time),
        **EXACT,
    )


@pytest.mark.parametrize(("steps", "tolerance"), [(1, 1e-5), (10, 1e-4)])
def test_lerobots_own_actions(pi0_model, pi0_golden, steps: int, tolerance: float) -> None:
    images = torch.stack([pi0_golden[f"in.image{i}"] for i in range(3)], 1)
    valid = torch.stack([pi0_golden[f"in.image_mask{i}"] for i in range(3)], 1)
    actions = compile_engine(pi0_model).sample(
        images,
        valid,
        pi0_golden["in.tokens"] * pi0_golden["in.token_mask"],
        pi0_golden["in.state"],
        pi0_golden["in.noise"],
        steps=steps,
    )
    torch.testing.assert_close(actions, pi0_golden[f"out.actions{steps}"], atol=tolerance, rtol=0)


@BOTH
def test_bfloat16_is_as_close_as_the_plain_model_in_bfloat16(kind: str) -> None:
    given = observation()
    exact = ENGINES[kind].sample(*whole(given), steps=5)
    half = compile_engine(MODELS[kind], precision="bfloat16")
    assert half.dtype == torch.bfloat16
    got = half.sample(*whole(given), steps=5)
    assert got.dtype == torch.float32
    assert 0 < (got - exact).abs().max() < 0.05


def test_gradients_go_through_the_plain_model() -> None:
    checkpoint = Checkpoint(MODELS["pi0"], CONTRACT, None, None, engine=ENGINES["pi0"])
    through = Sampling(previous=torch.zeros(9, 8).numpy(), frozen_rows=1, pull=Pull(jacobian=True))
    assert network(checkpoint, through) is MODELS["pi0"]
    assert network(checkpoint, Sampling()) is ENGINES["pi0"]
    assert network(replace(checkpoint, engine=None), Sampling()) is MODELS["pi0"]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="precision: got 'int3'"):
        compile_engine(MODELS["pi0"], precision="int3")
    with pytest.raises(ValueError, match="float8: got a model on cpu"):
        compile_engine(MODELS["pi0"], float8=True)
    with pytest.raises(ValueError, match="capture: got a model on cpu"):
        compile_engine(MODELS["pi0"], capture=True)
    assert FAMILIES["openvla"].engine is None
    assert isinstance(engine_for(MODELS["pi05"]), Engine)
    assert engine_for(MODELS["pi0"], "bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize(("height", "width"), [(30, 28), (28, 34), (33, 33)])
def test_an_image_that_is_no_multiple_of_the_patch_is_cut_as_by_the_convolution(
    height: int, width: int
) -> None:
    model, engine = MODELS["pi0"], ENGINES["pi0"]
    images = torch.rand(2, 3, height, width) * 2 - 1
    torch.testing.assert_close(engine.vision(images), model.vision(images), **EXACT)
