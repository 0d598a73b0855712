"""Real-time chunking in the flow head, against lerobot's processor and the paper's own formula.

golden/ref_rtc_tiny.safetensors: made with the weights and inputs of ref_pi0_tiny; 2 frozen rows, prefix weights end
at row 6, beta 5, 10 Euler steps.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.execution.resampling import aligned
from vla_policy.families.tiny import tiny
from vla_policy.geometry.quaternions import quaternion_multiply, rotvec_to_quaternion
from vla_policy.models import flow, rtc
from vla_policy.models.sampling import Sampling
from vla_policy.policy import load_policy
from vla_policy.types import Observation

FROZEN, END, BETA, STEPS = 2, 6, 5.0, 10
ROBOT = load_embodiment("vx300s")
LAYOUT = layout_of(ROBOT)


@pytest.fixture(scope="module")
def golden():
    return load_file(Path(__file__).parents[1] / "golden" / "ref_rtc_tiny.safetensors")


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0]),
        ("exp", [1, 1, 0.5706, 0.2871, 0.1145, 0.0258, 0, 0]),
        ("ones", [1, 1, 1, 1, 1, 1, 0, 0]),
        ("zeros", [1, 1, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_weights_of_the_previous_chunk(golden, schedule, expected):
    weights = rtc.prefix_weights(8, FROZEN, END, schedule)
    assert weights.tolist() == pytest.approx(expected, abs=1e-4)
    torch.testing.assert_close(weights, golden[f"weights_{schedule.upper()}"])


@pytest.mark.parametrize(
    ("frozen", "end", "words"), [(3, 2, "3 and 2"), (0, 9, "9"), (-1, 2, "-1")]
)
def test_rows_that_do_not_fit_are_refused(frozen, end, words):
    with pytest.raises(ValueError, match=words):
        rtc.prefix_weights(8, frozen, end, "linear")
    with pytest.raises(ValueError, match="cubic"):
        rtc.prefix_weights(8, 0, 2, "cubic")


def test_the_guidance_weight_is_the_papers():
    for tau in (0.05, 0.3, 0.5, 0.9):
        r2 = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
        paper = (1 - tau) / (tau * r2)
        ours = rtc.guidance_weight(torch.tensor(1 - tau, dtype=torch.float64), 1e9)
        assert float(ours) == pytest.approx(paper)
    assert float(rtc.guidance_weight(torch.tensor(1.0), BETA)) == BETA  # pure noise


def run(model, prefix, golden_pi0, golden, schedule, *, jacobian):
    previous = torch.nn.functional.pad(golden["prev_chunk"], (0, 0, 0, 2))
    weights = rtc.prefix_weights(8, FROZEN, END, schedule)[:, None]
    velocity = rtc.guided(
        lambda x, t: model.flow(prefix, golden_pi0["in.state"], x, t),
        previous,
        weights,
        max_weight=BETA,
        jacobian=jacobian,
    )
    with torch.no_grad():
        return flow.integrate(velocity, golden_pi0["in.noise"], STEPS)


@pytest.mark.parametrize("schedule", ["linear", "exp", "ones", "zeros"])
def test_constant_velocity_guidance_equals_lerobots(
    pi0_model, pi0_prefix, pi0_golden, golden, schedule
):
    actions = run(pi0_model, pi0_prefix, pi0_golden, golden, schedule, jacobian=False)
    torch.testing.assert_close(actions, golden[f"lerobot_{schedule.upper()}"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("schedule", ["linear", "exp"])
def test_guidance_through_the_network_equals_the_papers(
    pi0_model, pi0_prefix, pi0_golden, golden, schedule
):
    actions = run(pi0_model, pi0_prefix, pi0_golden, golden, schedule, jacobian=True)
    torch.testing.assert_close(actions, golden[f"vjp_{schedule.upper()}"], atol=1e-4, rtol=0)
    assert not actions.requires_grad
    assert all(p.grad is None for p in pi0_model.parameters())


def test_without_weights_it_is_the_plain_chunk(pi0_model, pi0_prefix, pi0_golden, golden):
    velocity = rtc.guided(
        lambda x, t: pi0_model.flow(pi0_prefix, pi0_golden["in.state"], x, t),
        torch.zeros(2, 8, 32),
        torch.zeros(8, 1),
        max_weight=BETA,
    )
    with torch.no_grad():
        actions = flow.integrate(velocity, pi0_golden["in.noise"], STEPS)
    torch.testing.assert_close(actions, pi0_golden["out.actions10"], atol=1e-4, rtol=0)


def test_one_time_for_all_rows_or_the_same_time_for_each(pi0_model, pi0_prefix, pi0_golden):
    noise, state = pi0_golden["in.noise"], pi0_golden["in.state"]
    time = torch.tensor([0.3, 0.8])
    with torch.no_grad():
        one = pi0_model.flow(pi0_prefix, state, noise, time)
        each = pi0_model.flow(pi0_prefix, state, noise, time[:, None].repeat(1, 8))
        other = pi0_model.flow(pi0_prefix, state, noise, torch.zeros(2, 8))
    torch.testing.assert_close(one, each)
    assert (one - other).abs().max() > 1e-3


def test_conditioning_gives_the_frozen_rows_as_data(pi0_model, pi0_prefix, pi0_golden, golden):
    """The network sees the previous rows at time 0 in every step, and they stay."""
    previous = torch.nn.functional.pad(golden["prev_chunk"], (0, 0, 0, 2))
    seen = []

    def velocity(x, times):
        seen.append((x, times))
        return pi0_model.flow(pi0_prefix, pi0_golden["in.state"], x, times)

    with torch.no_grad():
        start = rtc.with_prefix(pi0_golden["in.noise"], previous, FROZEN)
        actions = flow.integrate(rtc.conditioned(velocity, previous, FROZEN), start, STEPS)
    assert len(seen) == STEPS
    for step, (x, times) in enumerate(seen):
        torch.testing.assert_close(x[:, :FROZEN], previous[:, :FROZEN])
        assert (times[:, :FROZEN] == 0).all()
        torch.testing.assert_close(times[:, FROZEN:], torch.full((2, 6), 1 - step / STEPS))
    torch.testing.assert_close(actions[:, :FROZEN], previous[:, :FROZEN])
    plain = pi0_golden["out.actions10"]
    assert (actions[:, FROZEN:] - plain[:, FROZEN:]).abs().max() > 1e-3


def test_what_is_not_known_of_rows_given_as_data_is_nothing_to_the_network():
    """It sees 0 there, as in training; what comes back is as in the first row that is free."""
    plan = np.arange(18.0).reshape(6, 3) + 1.0
    sampling = Sampling(
        previous=plan, known=np.array([False, True, True]), frozen_rows=2, guidance_rows=4
    )
    seen = []

    def velocity(x, times):
        seen.append(x.clone())
        return insists(torch.full((1, 6, 3), -7.0))(x, times[:, -1])

    noise = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(0))
    actions = rtc.integrate(velocity, noise, 10, sampling, prefix_trained=True)[0]
    for x in seen:
        assert (x[0, :2, 0] == 0).all()
        np.testing.assert_allclose(x[0, :2, 1:], plan[:2, 1:])
    np.testing.assert_allclose(actions[:2, 1:], plan[:2, 1:])
    torch.testing.assert_close(actions[2:], torch.full((4, 3), -7.0))
    assert actions[:2, 0].tolist() == pytest.approx([-7.0, -7.0])


def insists(steps):
    """The flow of a network that knows only one answer, whatever the rows before it are."""
    return lambda x, time: (x - steps) / time[:, None, None]


@pytest.fixture(scope="module")
def policy():
    return load_policy("tiny")


def look(at_ns, xyz, turn=0.0):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)
    q = quaternion_multiply(
        rotvec_to_quaternion(np.array([0.0, 0.0, turn])), np.array([0, 0.7071068, 0, 0.7071068])
    )
    state = np.array([*xyz, *q, 1.0])
    return Observation(
        {"front": image, "wrist": image}, state, ROBOT.state_names, "pick up the red cube", at_ns
    )


STEP_NS = 100_000_000
HERE, LATER = look(10**9, [0.3, 0.0, 0.2]), look(10**9 + 4 * STEP_NS, [0.32, 0.01, 0.17], 0.1)


def test_a_plan_seen_from_elsewhere_is_the_same_plan(policy):
    """Steps count from the measured pose, so the same poses are other steps; back they are the same."""
    plan = policy.infer(HERE, seed=0)
    left = aligned(plan, LATER.obs_ns, LAYOUT)
    np.testing.assert_allclose(left.actions, plan.actions[4:], atol=1e-9)
    checkpoint, family = policy.checkpoint, policy.family
    expressed = family.express(checkpoint, left, LATER)
    np.testing.assert_allclose(
        family.restore(checkpoint, expressed.model_actions, LATER).actions, left.actions, atol=1e-9
    )
    assert np.abs(expressed.model_actions[0] - plan.model_actions[4])[1:7].max() > 0.1
    assert not expressed.known[0] and expressed.known[1:].all()


@pytest.mark.parametrize("frozen", [1, 3, 5])
def test_a_plan_goes_on_from_where_its_known_rows_lead(policy, frozen):
    plan = policy.infer(HERE, seed=0)
    left = aligned(plan, LATER.obs_ns, LAYOUT)
    options = {"frozen_rows": frozen, "guidance_rows": 6, "seed": 1}
    on = policy.infer(LATER, left, **options)
    np.testing.assert_array_equal(on.actions[:frozen], left.actions[:frozen])
    assert (on.continues, on.frozen_rows) == (plan.sequence, frozen)
    steps = np.linalg.norm(np.diff(on.actions[:, :3], axis=0), axis=1)
    assert steps[frozen - 1 :].max() < 0.06  # as fast as the demonstrations, no jump
    np.testing.assert_array_equal(policy.infer(LATER, left, **options).actions, on.actions)


@torch.inference_mode()
def test_behind_the_known_rows_stands_the_plain_chunk_of_that_place(policy):
    """What is sampled is the chunk of a robot that is already where the known rows lead."""
    plan = policy.infer(HERE, seed=0)
    left = aligned(plan, LATER.obs_ns, LAYOUT)
    on = policy.infer(LATER, left, frozen_rows=3, guidance_rows=3, seed=1)
    family, checkpoint = policy.family, policy.checkpoint
    known = family.express(checkpoint, left, LATER).model_actions[:3]
    there = tiny._ahead(checkpoint, family.prepare(checkpoint, "flow", LATER), known)
    state = np.array([*left.actions[2, :7], there.hands[0].measured[7]])
    plain = tiny._flow(checkpoint, there, Sampling(seed=1))[0]
    rows = family.restore(checkpoint, plain, replace(LATER, state=state)).actions
    np.testing.assert_allclose(on.actions[3:], rows[:7], atol=1e-5)


def test_what_cannot_be_continued_is_refused(policy):
    plan = policy.infer(HERE, seed=0)
    with pytest.raises(ValueError, match="expected from the observation"):
        policy.infer(LATER, plan, frozen_rows=1)
    left = aligned(plan, LATER.obs_ns, LAYOUT)
    with pytest.raises(ValueError, match="frozen_rows: got 7, expected 0"):
        policy.infer(LATER, left, frozen_rows=7)
    long = replace(left, actions=np.concatenate([left.actions] * 2), model_actions=None)
    with pytest.raises(ValueError, match="got 11 rows to continue, expected at most the 10"):
        policy.infer(LATER, long, frozen_rows=11)
    with pytest.raises(ValueError, match="guidance_rows: got 1, expected 2"):
        policy.infer(LATER, left, frozen_rows=2, guidance_rows=1)
    with pytest.raises(ValueError, match="frozen_rows"):
        policy.infer(LATER, frozen_rows=1)
    token = load_policy("tiny", head="token")
    assert not token.continues and policy.continues
    with pytest.raises(ValueError, match="token head of this model has no such option"):
        token.infer(LATER, aligned(plan, LATER.obs_ns, LAYOUT), frozen_rows=2)
