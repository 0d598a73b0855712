"""Options of the losses: knowledge insulation, clean leading rows, several draws over one prefix."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_cases import CASES, Case

from vla_policy.families import losses
from vla_policy.families.losses import Drawn
from vla_policy.families.training import LossOptions, as_trained

INSULATED = ("pi0", "pi05", "smolvla", "tiny")
BOTH = ("pi0", "pi05", "tiny")  # flow and token head over one prefix


@pytest.fixture(scope="module", params=INSULATED)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    case = CASES[request.param](tmp_path_factory.mktemp(request.param))
    case.checkpoint.model.requires_grad_(True)
    return replace(case, name=request.param)


def gradients(case: Case, batch: dict[str, torch.Tensor], **options: object) -> dict:
    """Part -> name -> gradient of the parameters that have one."""
    model = case.checkpoint.model
    model.zero_grad(set_to_none=True)
    case.loss(batch, **options).total.backward()
    return {
        part: {
            name: p.grad.clone()
            for name, p in model.named_parameters()
            if re.match(expression, name) and p.grad is not None
        }
        for part, expression in case.training.parts.items()
    }


def test_the_flow_does_not_reach_what_is_insulated(case: Case) -> None:
    batch = case.batch([case.demonstration(i) for i in range(2)])
    free = gradients(case, batch, heads=("flow",))
    assert all(any(g.abs().max() > 0 for g in part.values()) for part in free.values())
    kept = gradients(case, batch, heads=("flow",), detach_prefix=True)
    for part in ("vision", "language"):
        assert not any(g.abs().max() > 0 for g in kept[part].values())
    assert kept["expert"].keys() == free["expert"].keys()
    for name, gradient in free["expert"].items():
        torch.testing.assert_close(kept["expert"][name], gradient)


def test_tokens_reach_what_is_insulated_and_the_expert_does_not_see_them(case: Case) -> None:
    demonstrations, heads = [case.demonstration(i) for i in range(2)], ("flow", "token")
    if case.name not in BOTH:
        with pytest.raises(ValueError, match="heads: got 'token'"):
            case.batch(demonstrations, heads)
        return
    batch = case.batch(demonstrations, heads)
    both = gradients(case, batch, heads=heads, detach_prefix=True)
    alone = gradients(case, batch, heads=("token",))
    assert any(g.abs().max() > 0 for g in both["vision"].values())
    for part in ("vision", "language"):
        for name, gradient in alone[part].items():
            torch.testing.assert_close(both[part][name], gradient, rtol=1e-5, atol=1e-7)
    assert not alone["expert"]
    tokens = batch["action_tokens"]
    others = torch.where(tokens == losses.IGNORED, tokens, tokens.roll(1, 1).clamp(min=0))
    with torch.no_grad():
        seen, unseen = (
            case.loss(batch | {"action_tokens": t}, heads=heads).parts for t in (tokens, others)
        )
    assert seen["flow"] == unseen["flow"] and seen["token"] != unseen["token"]


def test_pi0_writes_the_whole_chunk_as_tokens(tmp_path: Path) -> None:
    case = CASES["pi05"](tmp_path)
    demonstration = case.demonstration(0, valid=np.arange(case.policy.rows + 2) < 3)
    example = case.training.example(case.checkpoint, ("flow", "token"), demonstration)
    vocab = case.checkpoint.model.config.vocab
    bins = vocab - 1 - 128 - example["action_tokens"].reshape(3, 7).numpy()
    wanted = example["actions"][:3, :7].numpy()
    assert np.abs((2 * bins + 1) / 256 - 1 - wanted.clip(-1, 1)).max() <= 1 / 256 + 1e-6


def test_rows_given_as_data_are_clean_and_do_not_count() -> None:
    torch.manual_seed(0)
    actions, noise = torch.randn(2, 6, 3), torch.randn(4, 6, 3)
    valid = torch.ones(2, 6, dtype=torch.bool)
    valid[1, 5] = False
    batch = {"actions": actions, "valid": valid, "columns": torch.ones(2, 3, dtype=torch.bool)}
    delay, time = torch.tensor([0, 2, 5, 1]), torch.tensor([0.2, 0.9, 0.5, 0.7])
    seen = []

    def velocity(noisy: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        seen.append((noisy, at))
        return torch.zeros_like(noisy)

    drawn = Drawn(noise, time, delay, torch.zeros(2, dtype=torch.bool))
    part, has = losses.flow_matching(velocity, batch, drawn, LossOptions(max_delay=5, draws=2))
    ((noisy, at),) = seen
    each = [[], []]
    for i, d in enumerate(delay.tolist()):
        chunk = actions[i // 2]
        assert torch.equal(noisy[i, :d], chunk[:d]) and (at[i, :d] == 0).all()
        assert (at[i, d:] == time[i]).all()
        error = (noise[i] - chunk).square()[d : 6 - i // 2]
        each[i // 2].append(error.flatten())
    assert has.all()
    torch.testing.assert_close(part, torch.stack([torch.cat(e).mean() for e in each]))


@pytest.mark.slow
def test_delays_are_uniform_and_the_checkpoint_says_how_many(tmp_path: Path) -> None:
    case = CASES["pi05"](tmp_path)
    options, rows = LossOptions(max_delay=3, draws=2), case.policy.rows
    batch = {
        "actions": torch.zeros(2000, rows, 2),
        "seed": torch.arange(2000),
        "demonstrated": torch.ones(2000, dtype=torch.bool),
    }
    drawn = losses.draw(batch, options, torch.Generator(), torch.device("cpu"))
    shares = torch.bincount(drawn.delay) / len(drawn.delay)
    assert drawn.delay.unique().tolist() == [0, 1, 2, 3] and (shares - 0.25).abs().max() < 0.03
    with pytest.raises(ValueError, match=f"max_delay: got {rows}, expected fewer than the {rows}"):
        losses.draw(batch, LossOptions(max_delay=rows), torch.Generator(), torch.device("cpu"))

    as_trained(case.checkpoint, LossOptions())
    assert not case.checkpoint.model.config.flow.prefix_trained
    as_trained(case.checkpoint, options)
    first = case.policy.infer(case.observe(0), seed=1)
    after = case.policy.infer(case.observe(0), seed=2, previous=first, frozen_rows=3)
    np.testing.assert_allclose(after.actions[:3], first.actions[:3], atol=1e-5)
    with pytest.raises(ValueError, match="trained to continue at most 3 rows"):
        case.policy.infer(case.observe(0), seed=2, previous=first, frozen_rows=4)


@pytest.mark.parametrize("name", ["pi0", "pi05"])
def test_training_with_delays_learns_the_rest_from_the_rows_given(
    name: str, tmp_path: Path
) -> None:
    case = CASES[name](tmp_path)
    batch = case.batch([case.demonstration(i) for i in range(2)])
    case.checkpoint.model.requires_grad_(True)
    before = gradients(case, batch, max_delay=3)
    assert any(g.abs().max() > 0 for g in before["expert"].values())
    chunk = batch["actions"].clone()
    chunk[:, 0] += 1.0  # the first row is given in some of the draws, and tells of the others
    with torch.no_grad():
        drawn = losses.draw(
            batch, LossOptions(max_delay=3), torch.Generator(), torch.device("cpu")
        )
        assert (drawn.delay > 0).any()
        one, other = (
            case.loss(batch | {"actions": a}, max_delay=3) for a in (batch["actions"], chunk)
        )
    assert one.total != other.total


def test_draws_stand_over_one_prefix(case: Case) -> None:
    batch = case.batch([case.demonstration(i) for i in range(2)])
    calls = []
    read = case.checkpoint.model.prefix
    with torch.no_grad():
        one = case.loss(batch, draws=1).parts["flow"]
        case.checkpoint.model.prefix = lambda *a, **k: calls.append(1) or read(*a, **k)
        many = case.loss(batch, draws=16).parts["flow"]
        del case.checkpoint.model.prefix
    assert len(calls) == 1 and many != one
    assert 0.3 < (many / one).item() < 3.0


def test_a_policy_of_the_shipped_kind_is_trained_where_it_terminates(tmp_path: Path) -> None:
    """Rows behind the end of an episode that reached its goal say so, and the tool stands still there."""
    case = CASES["tiny_mobile"](tmp_path)
    whole = case.demonstration(0)
    valid = np.arange(len(whole.valid)) < 4
    actions = np.where(valid[:, None], whole.actions, whole.actions[3])
    ended = replace(whole, actions=actions, valid=valid, done=~valid)
    example = case.training.example(case.checkpoint, (), ended)
    rows = case.policy.family.restore(
        case.checkpoint, example["actions"].double().numpy(), whole.observation
    )
    own = example["actions"][:, example["columns"]].double().numpy()
    said = dict(
        zip(
            case.policy.contract.model_action_names,
            case.checkpoint.statistics.actions.restore(own).T,
            strict=True,
        )
    )
    assert example["valid"].all()
    assert said["terminate"].round(6).tolist() == [0.0] * 4 + [1.0] * 6
    np.testing.assert_allclose(said["base.vx"][4:], 0.0, atol=1e-7)
    poses = rows.actions[:, [case.policy.contract.action_names.index(f"ee.{n}") for n in "xyz"]]
    np.testing.assert_allclose(poses[4:], poses[3:4].repeat(6, 0), atol=1e-6)
