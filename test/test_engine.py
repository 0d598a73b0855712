"""The engine against the plain networks: every shortcut by itself, then the whole of it, for pi0 and pi0.5."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses import FakeTensorMode

from vla_policy.families.family import network
from vla_policy.models import flow
from vla_policy.models.config import FlowHeadConfig, GemmaConfig, ModelConfig, SiglipConfig
from vla_policy.models.engine import build, compile_engine, engine_for
from vla_policy.models.engine.engine import Engine
from vla_policy.models.engine.linear import Joined, can_pack, gated, packed, plain, scaled8
from vla_policy.models.engine.stack import normed
from vla_policy.models.vla import VLA
from vla_policy.models.weights import Checkpoint
from vla_policy.policy import load_policy
from vla_policy.sampling import Pull, Sampling

EXACT = {"atol": 1e-5, "rtol": 0.0}
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="runs where there is a CUDA GPU")
BOTH = pytest.mark.parametrize("kind", ["pi0", "pi05"])
CAMERAS = ([[1, 1, 1], [1, 1, 1]], [[1, 0, 1], [1, 0, 1]], [[1, 1, 1], [0, 0, 1]])


def config(kind: str) -> ModelConfig:
    heads = {"depth": 3, "heads": 4, "kv_heads": 1, "head_dim": 16}
    expert = GemmaConfig(width=32, mlp=96, **heads)
    return ModelConfig(
        name=kind,
        vocab=300,
        language=GemmaConfig(width=64, mlp=160, **heads),
        vision=SiglipConfig(image_px=28, patch_px=7, width=48, depth=2, mlp=100, heads=4),
        cameras=3,
        state_dim=8,
        action_dim=8,
        state_token="suffix" if kind == "pi0" else "none",
        max_text=12,
        flow=FlowHeadConfig(
            expert, rows=9, steps=10, time="concat" if kind == "pi0" else "adarms"
        ),
        token=None,
    )


def network_of(kind: str) -> VLA:
    torch.manual_seed(3)
    model = VLA(config(kind)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "position" in name:  # else they start at 0 or 1
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


MODELS = {kind: network_of(kind) for kind in ("pi0", "pi05")}
with patch.object(
    build, "SMALL", 0
):  # packed products, as in large models, where this CPU has them
    ENGINES = {kind: compile_engine(model) for kind, model in MODELS.items()}


TINY = load_policy("tiny")


def observation(batch: int = 2, words: tuple[int, ...] = (7, 4)) -> dict[str, torch.Tensor]:
    text = torch.zeros(batch, 12, dtype=torch.long)
    for row, n in zip(text, words, strict=True):
        row[:n] = torch.randint(1, 300, (n,))
    return {
        "images": torch.rand(batch, 3, 3, 28, 28) * 2 - 1,
        "text": text,
        "state": torch.randn(batch, 8),
        "noise": torch.randn(batch, 9, 8),
    }


def prefixes(kind: str, cameras: list[list[int]], **changes: torch.Tensor):
    """Inputs, the plain model's prefix and the engine's."""
    given = observation() | changes
    model, engine = MODELS[kind], ENGINES[kind]
    features = model.vision(given["images"].flatten(0, 1)).unflatten(0, (2, 3)).flatten(1, 2)
    valid = torch.tensor(cameras, dtype=torch.bool).repeat_interleave(16, 1)
    arguments = (features, given["text"], given["state"], valid)
    return given, model.prefix(*arguments), engine.prefix(*arguments)


@pytest.fixture(autouse=True)
def _no_gradients():
    torch.manual_seed(11)
    with torch.inference_mode():
        yield


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
    ours = layer.down.plus(layer.gated(normed(x)), x)
    torch.testing.assert_close(ours, x + block.mlp(block.post_attention_layernorm(x)), **EXACT)


def test_last_layer_is_keys_and_values() -> None:
    _, theirs, ours = prefixes("pi05", CAMERAS[0], text=torch.randint(1, 300, (2, 12)))
    assert ENGINES["pi05"].language.layers[-1].out is None
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
    whole = engine.sample(
        given["images"], valid, given["text"], state, given["noise"], steps=5, solver=solver
    )
    torch.testing.assert_close(whole, plain_, **EXACT)


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
    model, engine = TINY.checkpoint.model, TINY.checkpoint.engine
    text = torch.cat((torch.randint(1, 300, (2, 9)), torch.zeros(2, 31, dtype=torch.long)), 1)
    text[1, 5:] = 0
    tokens, state, noise = torch.randn(2, 4, 39), torch.randn(2, 8), torch.randn(2, 10, 8)
    theirs, ours = (
        flow.integrate(lambda x, t: m.flow(p, state, x, t), noise, 10)  # noqa: B023
        for m, p in ((m, m.prefix(tokens, text, state)) for m in (model, engine))
    )
    torch.testing.assert_close(ours, theirs, **EXACT)


@BOTH
def test_absent_cameras_and_padding_are_not_in_the_cache(kind: str) -> None:
    words = torch.cat((torch.randint(1, 300, (2, 5)), torch.zeros(2, 7, dtype=torch.long)), 1)
    _, _, prefix = prefixes(kind, CAMERAS[1], text=words)
    state = kind == "pi0"
    assert prefix.cache.keys.shape[3] == 2 * 16 + 5 + state + 9
    assert prefix.cache.valid is None


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
    arguments = (
        given["images"],
        torch.ones(2, 3, dtype=torch.bool),
        given["text"],
        given["state"],
    )
    exact = ENGINES[kind].sample(*arguments, given["noise"], steps=5)
    half = compile_engine(MODELS[kind], precision="bfloat16")
    assert half.dtype == torch.bfloat16
    got = half.sample(*arguments, given["noise"], steps=5)
    assert got.dtype == torch.float32
    assert 0 < (got - exact).abs().max() < 0.05


@BOTH
def test_release_leaves_one_copy_and_the_same_actions(kind: str) -> None:
    given = observation(words=(6, 6))
    arguments = (
        given["images"],
        torch.ones(2, 3, dtype=torch.bool),
        given["text"],
        given["state"],
    )
    model = network_of(kind)
    engine = compile_engine(model, release=True)
    left = sum(p.numel() for p in model.parameters() if not p.is_meta)
    assert left < 0.5 * sum(p.numel() for p in model.parameters())
    torch.testing.assert_close(
        engine.sample(*arguments, given["noise"], steps=2, solver="heun"),
        ENGINES[kind].sample(*arguments, given["noise"], steps=2, solver="heun"),
        **EXACT,
    )
    through = Sampling(previous=torch.zeros(9, 8).numpy(), frozen_rows=1, pull=Pull(jacobian=True))
    with pytest.raises(ValueError, match="engine='off'"):
        network(Checkpoint(model, None, None, None, engine=engine), through)


def test_gradients_go_through_the_plain_model() -> None:
    checkpoint = Checkpoint(MODELS["pi0"], None, None, None, engine=ENGINES["pi0"])
    through = Sampling(previous=torch.zeros(9, 8).numpy(), frozen_rows=1, pull=Pull(jacobian=True))
    assert network(checkpoint, through) is MODELS["pi0"]
    assert network(checkpoint, Sampling()) is ENGINES["pi0"]
    assert network(replace(checkpoint, engine=None), Sampling()) is MODELS["pi0"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biased", [False, True])
def test_packed_products_are_plain_products(dtype: torch.dtype, biased: bool) -> None:
    if not can_pack(dtype):
        pytest.skip(f"runs on a CPU with {dtype} products in oneDNN (AMX or AVX512-BF16)")
    weight, bias = torch.randn(48, 40) / 6, torch.randn(48) if biased else None
    ours, theirs = packed(dtype)(weight, bias), plain(dtype, torch.device("cpu"))(weight, bias)
    close = (
        {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.05, "rtol": 0.02}
    )
    for rows in (1, 5, 64):
        x, other = torch.randn(2, rows, 40, dtype=dtype), torch.randn(2, rows, 48, dtype=dtype)
        torch.testing.assert_close(ours(x), theirs(x), **close)
        torch.testing.assert_close(ours.gelu(x), theirs.gelu(x), **close)
        torch.testing.assert_close(ours.times(x, other), theirs.times(x, other), **close)
        torch.testing.assert_close(ours.plus(x, other), theirs.plus(x, other), **close)


def test_joined_gate_and_up_where_products_have_no_activation() -> None:
    gate, up, x = torch.randn(48, 40) / 6, torch.randn(48, 40) / 6, torch.randn(2, 5, 40)
    joined = gated(gate, up, plain(torch.float32, torch.device("cpu")))
    assert isinstance(joined, Joined)
    exact = F.gelu(F.linear(x, gate), approximate="tanh") * F.linear(x, up)
    torch.testing.assert_close(joined(x), exact, **EXACT)


@BOTH
def test_nothing_waits_for_a_gpu(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one CUDA graph is made of: tensors without values cannot be asked for one, nor can a graph."""
    monkeypatch.setattr(build, "can_pack", lambda dtype: False)
    engine = compile_engine(MODELS[kind])
    engine.prepare(10, "heun")
    with FakeTensorMode(allow_non_fake_inputs=True):
        given = observation(words=(6, 6))
        images, text = given["images"][:, :2].flatten(0, 1), given["text"][:, :6]
        actions = engine.without_gaps(
            images, text, given["state"], given["noise"], steps=10, solver="heun"
        )
    assert actions.shape == (2, 9, 8)


KERNELS = """
import torch
from vla_policy.models.engine import kernels
assert kernels.FUSED
torch.manual_seed(0)
for b, s, heads, kv, d in ((2, 5, 6, 1, 16), (1, 3, 8, 2, 8), (2, 4, 2, 1, 16)):
    y, angle = torch.randn(b, s, heads, d), torch.rand(b, s, d // 2)
    turn = torch.stack((angle.cos(), angle.sin()), -1)
    results = []
    for fused in (True, False):
        kernels.FUSED = fused
        keys, values = torch.zeros(2, b, kv, s + 3, d)
        q = kernels.rotate_and_store(y, turn, keys[:, :, 2 : s + 2], values[:, :, 2 : s + 2], kv)
        results.append((keys, values, keys if q is None else q))
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs)
x = torch.randn(2, 5, 3000)
for gain in (torch.rand(1, 1, 3000), torch.rand(2, 1, 3000), torch.rand(2, 5, 3000)):
    results = []
    for kernels.FUSED in (True, False):
        results.append((kernels.gated_gelu(x), kernels.norm(x, gain, gain - 0.5)))
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs)
"""


@pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="runs where there is Triton (pip install triton)",
)
def test_triton_kernels_interpreted() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", KERNELS], env=environment, check=True)


def test_float8_products_keep_two_digits() -> None:
    weight, bias, x = torch.randn(48, 64) / 8, torch.randn(48), torch.randn(3, 5, 64)
    weight[7] *= 100  # one scale per output: its neighbours do not suffer
    exact = F.linear(x, weight, bias)
    error = (scaled8(torch.device("cpu"))(weight, bias)(x) - exact).abs().mean((0, 1))
    assert (error < 0.08 * exact.abs().mean((0, 1))).all()


def test_refusals() -> None:
    with pytest.raises(ValueError, match="precision: got 'int3'"):
        compile_engine(MODELS["pi0"], precision="int3")
    with pytest.raises(ValueError, match="float8: got a model on cpu"):
        compile_engine(MODELS["pi0"], float8=True)
    with pytest.raises(ValueError, match="capture: got a model on cpu"):
        compile_engine(MODELS["pi0"], capture=True)
    assert engine_for(torch.nn.Linear(2, 2)) is None
    assert isinstance(engine_for(MODELS["pi05"]), Engine)
    assert engine_for(MODELS["pi0"], "bfloat16").dtype == torch.bfloat16


@GPU
@BOTH
def test_graph_on_a_gpu(kind: str) -> None:
    given = observation(words=(6, 6))
    model = network_of(kind).cuda()
    engine = compile_engine(model, precision="float32")
    valid = torch.tensor(CAMERAS[1], dtype=torch.bool)
    for _ in range(3):  # captured, then replayed on other pictures
        given["images"], given["noise"] = torch.rand(2, 3, 3, 28, 28), torch.randn(2, 9, 8)
        arguments = (given["images"], valid, given["text"], given["state"], given["noise"])
        fast = engine.sample(*(a.cuda() for a in arguments), steps=5)
        exact = ENGINES[kind].sample(*arguments, steps=5)
        torch.testing.assert_close(fast.cpu(), exact, atol=1e-4, rtol=0)


@GPU
def test_float8_on_a_gpu() -> None:
    given = observation(words=(6, 6))
    arguments = (
        given["images"],
        torch.ones(2, 3, dtype=torch.bool),
        given["text"],
        given["state"],
    )
    engine = compile_engine(network_of("pi0").cuda(), precision="bfloat16", float8=True)
    fast = engine.sample(*(a.cuda() for a in arguments), given["noise"].cuda(), steps=5)
    exact = ENGINES["pi0"].sample(*arguments, given["noise"], steps=5)
    assert (fast.cpu() - exact).abs().max() < 0.2
