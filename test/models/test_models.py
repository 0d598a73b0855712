"""Rules of the networks that hold at every size."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_policy.models import config, flow, token_head, tokenizer
from vla_policy.models.codec import UniformBins
from vla_policy.models.gemma import Gemma, RMSNorm, rope_angles, rotate
from vla_policy.models.mask import block_mask, positions_of
from vla_policy.models.vla import VLA

TOKENS = tokenizer.build(["pick", "up", "the", "red", "cube"])


@pytest.fixture(scope="module")
def tiny() -> VLA:
    torch.manual_seed(0)
    return VLA(config.tiny(TOKENS.get_vocab_size())).eval()


def test_pi0_has_the_published_size() -> None:
    with torch.device("meta"):
        model = VLA(config.pi0())
    assert sum(p.numel() for p in model.parameters()) == 3_238_048_528


def test_config_round_trip_and_refusals() -> None:
    data = config.to_dict(config.pi0())
    assert config.from_dict(data) == config.pi0()
    with pytest.raises(ValueError, match="missing vocab"):
        config.from_dict({k: v for k, v in data.items() if k != "vocab"})
    with pytest.raises(ValueError, match=r"config\.vocab: got 'many'"):
        config.from_dict(data | {"vocab": "many"})
    with pytest.raises(ValueError, match="depth, heads, kv_heads and head_dim"):
        config.from_dict(data | {"language": data["language"] | {"depth": 3}})


def test_rms_norm_is_gemmas() -> None:
    x, norm = torch.randn(3, 8), RMSNorm(8)
    torch.nn.init.normal_(norm.weight)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * (1 + norm.weight)
    torch.testing.assert_close(norm(x), expected)


def test_rotary_scores_depend_on_distance_only() -> None:
    q, k = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)

    def score(i: int, j: int) -> float:
        turned = [rotate(x, rope_angles(torch.tensor([[p]]), 16)) for x, p in ((q, i), (k, j))]
        return (turned[0] * turned[1]).sum().item()

    assert score(3, 7) == pytest.approx(score(10, 14), abs=1e-4)
    assert score(3, 7) != pytest.approx(score(3, 8), abs=1e-3)


def test_mask_by_hand() -> None:
    starts = torch.tensor([[True, False, True, True, False]])  # prefix of 2, state, 2 actions
    valid = torch.tensor([[True, True, True, True, True]])
    expected = [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1],
    ]
    assert block_mask(starts, valid)[0].int().tolist() == expected
    padded = block_mask(starts, torch.tensor([[True, False, True, True, True]]))[0]
    assert not padded[:, 1].any()
    assert positions_of(torch.tensor([[True, False, True]])).tolist() == [[0, 0, 1]]


def test_cache_gives_what_no_cache_gives() -> None:
    torch.manual_seed(1)
    stack = Gemma(
        config.GemmaConfig(width=24, depth=3, mlp=48, heads=4, kv_heads=1, head_dim=8)
    ).eval()
    x = torch.randn(2, 9, 24)
    starts, valid = torch.ones(2, 9, dtype=torch.bool), torch.ones(2, 9, dtype=torch.bool)
    starts[:, 1:5] = False  # a prefix of 5, then one at a time
    mask, positions = block_mask(starts, valid), positions_of(valid)
    whole, _ = stack(x, positions, mask)
    out, cache = stack(x[:, :5], positions[:, :5], mask[:, :5, :5])
    steps = [out]
    for i in range(5, 9):
        out, cache = stack(
            x[:, i : i + 1], positions[:, i : i + 1], mask[:, i : i + 1, : i + 1], cache
        )
        steps.append(out)
    torch.testing.assert_close(torch.cat(steps, 1), whole, atol=1e-5, rtol=0)


def test_prefix_ignores_padding(tiny: VLA) -> None:
    images, state = torch.randn(1, 4, 39), torch.randn(1, 8)
    ids = tokenizer.encode(TOKENS, "pick up the red cube", 6)
    short = tiny.prefix(images, torch.tensor([ids]), state)
    long = tiny.prefix(images, torch.tensor([ids + [0] * 9]), state)
    torch.testing.assert_close(short.out[short.valid], long.out[long.valid], atol=1e-5, rtol=0)


def test_decoding_with_the_cache_is_teacher_forcing(tiny: VLA) -> None:
    images, state = torch.randn(1, 4, 39), torch.randn(1, 8)
    text = torch.tensor([tokenizer.encode(TOKENS, tokenizer.prompt("action", "pick up"), 8)])
    first, start = TOKENS.token_to_id("<act000>"), TOKENS.token_to_id("<eos>")
    with torch.no_grad():
        prefix = tiny.prefix(images, text, state)
        logits, opened = tiny.continue_with(prefix, torch.tensor([[start]]))
        bins = token_head.decode(
            tiny,
            opened,
            logits[:, -1],
            action_ids=torch.arange(first, first + 256),
            rows=2,
            temperature=0.0,
        )
        inputs = torch.cat((torch.tensor([[start]]), bins.flatten(1)[:, :-1] + first), 1)
        logits, _ = tiny.continue_with(prefix, inputs)
    for i in range(16):
        n = token_head.allowed_bins(i % 8, 256)
        assert logits[0, i, first : first + n].argmax() == bins.flatten(1)[0, i]


def test_decoding_is_constrained_and_repeatable(tiny: VLA) -> None:
    prefix = tiny.prefix(
        torch.randn(3, 4, 39), torch.ones(3, 2, dtype=torch.long), torch.randn(3, 8)
    )
    ids = torch.arange(256) + TOKENS.token_to_id("<act000>")
    draws = [
        token_head.decode(
            tiny,
            prefix,
            token_head.after_prefix(tiny, prefix),
            action_ids=ids,
            rows=3,
            temperature=5.0,
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert draws[0].shape == (3, 3, 8)
    assert draws[0][..., 0].max() <= 1
    assert 0 <= draws[0].min() and draws[0].max() <= 255


def test_bins_at_both_edges() -> None:
    bins = UniformBins(256)
    index = np.arange(256)
    low, high = -1 + 2 * index / 256, -1 + 2 * (index + 1) / 256 - 1e-12
    assert (bins.encode(low) == index).all()
    assert (bins.encode(high) == index).all()
    assert bins.encode(np.array([1.0, 7.0, -7.0])).tolist() == [255, 255, 0]
    assert (bins.encode(bins.decode(index)) == index).all()
    with pytest.raises(ValueError, match="not finite"):
        bins.encode(np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match=r"expected 0\.\.255"):
        bins.decode(np.array([256]))


@given(st.floats(-1, 1))
@settings(max_examples=300, deadline=None)
def test_bins_are_at_most_half_a_bin_off(value: float) -> None:
    bins = UniformBins(256)
    assert abs(bins.decode(bins.encode(value)) - value) <= 1 / 256 + 1e-12


def test_euler_is_exact_on_a_straight_path() -> None:
    noise, data = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    for steps in (1, 3, 10):
        torch.testing.assert_close(flow.integrate(lambda x, t: noise - data, noise, steps), data)


def test_euler_converges_on_a_linear_field() -> None:
    x0 = torch.ones(1, 1, 1)
    # dx/dt = x from t=1 to t=0 shrinks x by e; Euler with n steps by (1 - 1/n)^n
    for steps in (1, 10, 100):
        got = flow.integrate(lambda x, t: x, x0, steps).item()
        assert got == pytest.approx((1 - 1 / steps) ** steps, rel=1e-5)
    assert flow.integrate(lambda x, t: x, x0, 1000).item() == pytest.approx(math.exp(-1), abs=1e-3)


def test_time_is_beta_distributed() -> None:
    t = flow.sample_time(200_000, generator=torch.Generator().manual_seed(0))
    assert 0.001 <= t.min() and t.max() <= 1.0
    u = (t - 0.001) / 0.999
    assert u.mean().item() == pytest.approx(1.5 / 2.5, abs=0.003)
    for q in (0.1, 0.5, 0.9):  # the distribution function of Beta(1.5, 1) is u^1.5
        assert (u < q).float().mean().item() == pytest.approx(q**1.5, abs=0.004)


def test_path_ends_and_velocity() -> None:
    actions, noise = torch.randn(2, 4, 3), torch.randn(2, 4, 3)
    x, velocity = flow.interpolate(actions, noise, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(x[0], actions[0])
    torch.testing.assert_close(x[1], noise[1])
    torch.testing.assert_close(velocity, noise - actions)


def test_prompt_is_rt2s_and_unknown_words_are_kept_apart() -> None:
    text = tokenizer.prompt("action", "Pick_up  the\nRED cube!")
    assert text == "Q: what action should the robot take to pick up the red cube ? A:"
    ids = TOKENS.encode(text, add_special_tokens=False).ids
    assert len(ids) == 7 and TOKENS.token_to_id("<unk>") not in ids
    assert TOKENS.encode("grab", add_special_tokens=False).tokens == ["<unk>"]
    with pytest.raises(ValueError, match="at most 4"):
        tokenizer.encode(TOKENS, "pick up the red cube", 4)
