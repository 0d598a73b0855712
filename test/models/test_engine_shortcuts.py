"""Every shortcut of the engine by itself, against the plain networks of pi0 and pi0.5."""

import pytest
import torch
import torch.nn.functional as F
from engine_models import BOTH, CAMERAS, ENGINES, EXACT, MODELS, observation, prefixes

from vla_policy.models.engine.stack import normed

pytestmark = pytest.mark.usefixtures("seeded_inference")


def test_all_cameras_in_one_call() -> None:
    images = observation()["images"]
    one_by_one = torch.stack([MODELS["pi0"].vision(images[:, i]) for i in range(3)], 1)
    together = ENGINES["pi0"].vision(images.flatten(0, 1)).unflatten(0, (2, 3))
    torch.testing.assert_close(together, one_by_one, **EXACT)


def test_folded_norm_and_neighbouring_pairs_leave_queries_keys_and_values() -> None:
    block, layer = MODELS["pi0"].language.layers[0], ENGINES["pi0"].language.layers[0]
    x = torch.randn(2, 5, 64)
    y, a = block.input_layernorm(x), block.self_attn
    q, k, v = layer.qkv(normed(x)).split((64, 16, 16), -1)
    torch.testing.assert_close(v, a.v_proj(y), **EXACT)
    for ours, theirs in ((q, a.q_proj(y)), (k, a.k_proj(y))):
        pairs = theirs.unflatten(-1, (-1, 2, 8)).transpose(-1, -2).flatten(-3)
        torch.testing.assert_close(ours, pairs, **EXACT)


def test_gate_and_up_are_the_feed_forward() -> None:
    block, layer = MODELS["pi0"].language.layers[1], ENGINES["pi0"].language.layers[1]
    x = torch.randn(2, 5, 64)
    ours = layer.after.down.plus(layer.after.gated(normed(x)), x)
    torch.testing.assert_close(ours, x + block.mlp(block.post_attention_layernorm(x)), **EXACT)


def test_last_layer_is_keys_and_values() -> None:
    _, theirs, ours = prefixes("pi05", CAMERAS[0], text=torch.randint(1, 300, (2, 12)))
    assert ENGINES["pi05"].language.layers[-1].after is None
    for i, (keys, values) in enumerate(theirs.cache):
        tokens = keys.shape[2]
        torch.testing.assert_close(ours.cache.values[i, :, :, :tokens], values, **EXACT)
        pairs = keys.unflatten(-1, (2, 8)).transpose(-1, -2).flatten(-2)
        torch.testing.assert_close(ours.cache.keys[i, :, :, :tokens], pairs, **EXACT)


def test_folded_time_layer() -> None:
    model, head = MODELS["pi0"].flow, ENGINES["pi0"].head
    noisy, time = torch.randn(2, 9, 8), torch.tensor([1.0, 0.3])
    x = head.hidden(F.silu(F.linear(noisy, head.actions) + head.condition(time).bias))
    theirs = model.embed(torch.randn(2, 8), noisy, time).x[:, 1:]
    torch.testing.assert_close(x, theirs, **EXACT)


def test_modulation_of_every_norm_before_the_first_step() -> None:
    model, engine = MODELS["pi05"].flow, ENGINES["pi05"]
    prepared = engine.prepare(10, "euler")
    assert engine.prepare(10, "euler") is prepared  # once, not per chunk
    norms = [
        n for b in model.expert.layers for n in (b.input_layernorm, b.post_attention_layernorm)
    ]
    x = torch.randn(1, 9, 32)
    for step in (0, 4, 9):
        time = torch.tensor([1.0 - step / 10])
        condition = model.embed(torch.randn(1, 8), torch.randn(1, 9, 8), time).condition
        for norm, ours in zip((*norms, model.expert.norm), prepared[step].norms, strict=True):
            y, gate = norm(x, condition)
            torch.testing.assert_close(normed(x, ours), y, **EXACT)
            torch.testing.assert_close(ours[2], gate, **EXACT)


def test_state_token_is_computed_once() -> None:
    given, theirs, ours = prefixes("pi0", CAMERAS[0])
    before = ours.cache.keys[:, :, :, : ours.start].clone()
    time = torch.ones(2)
    velocity = ENGINES["pi0"].flow(ours, given["state"], given["noise"], time)
    torch.testing.assert_close(
        velocity, MODELS["pi0"].flow(theirs, given["state"], given["noise"], time), **EXACT
    )
    assert torch.equal(ours.cache.keys[:, :, :, : ours.start], before)


@BOTH
def test_absent_cameras_and_padding_are_not_in_the_cache(kind: str) -> None:
    words = torch.cat((torch.randint(1, 300, (2, 5)), torch.zeros(2, 7, dtype=torch.long)), 1)
    _, _, prefix = prefixes(kind, CAMERAS[1], text=words)
    state = kind == "pi0"
    assert prefix.cache.keys.shape[3] == 2 * 16 + 5 + state + 9
    assert prefix.cache.valid is None
