"""OpenVLA against tensors made by its own published classes (test/golden/ref_openvla_tiny.safetensors).

Random weights, four vision blocks per tower of which three are read, fp32 on the CPU.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from vla_policy.families import openvla_inputs as inputs
from vla_policy.models.codec import EdgeBins, UniformBins
from vla_policy.models.llama import Llama, LlamaConfig
from vla_policy.models.openvla import OpenVla, OpenVlaConfig, openvla_7b, write_action
from vla_policy.models.vit import VitConfig

GOLDEN = Path(__file__).parents[1] / "golden" / "ref_openvla_tiny.safetensors"
RENAMED = {
    "vision_backbone.featurizer.": "vision.dino.",
    "vision_backbone.fused_featurizer.": "vision.siglip.",
    "language_model.model.embed_tokens.": "embed_tokens.",
    "language_model.model.": "language.",
    "language_model.lm_head.": "lm_head.",
    "projector.": "projector.",
}
NAMES = ("dx", "dy", "dz", "drx", "dry", "drz", "gripper")


def ours(key: str) -> str:
    theirs = next(prefix for prefix in RENAMED if key.startswith(prefix))
    return RENAMED[theirs] + key[len(theirs) :]


def is_read(key: str) -> bool:
    return not (key.startswith("vision_backbone") and (".norm." in key or ".blocks.3." in key))


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with safe_open(GOLDEN, "pt") as file:
        return {k: file.get_tensor(k) for k in file.keys()}


@pytest.fixture(scope="module")
def norm_stats() -> dict:
    with safe_open(GOLDEN, "pt") as file:
        return json.loads(file.metadata()["config"])["norm_stats"]


@pytest.fixture(scope="module")
def model(golden: dict[str, torch.Tensor]) -> OpenVla:
    config = OpenVlaConfig(
        name="golden",
        dino=VitConfig(28, 14, width=24, depth=3, mlp=48, heads=2, registers=4),
        siglip=VitConfig(28, 14, width=32, depth=3, mlp=64, heads=2, registers=0),
        language=LlamaConfig(48, 2, 96, heads=4, kv_heads=4, head_dim=12, eps=1e-6),
        vocab=384,
        action_vocab=320,
    )
    model = OpenVla(config).eval()
    weights = {ours(k[2:]): v for k, v in golden.items() if k.startswith("w.") and is_read(k[2:])}
    model.load_state_dict(weights, strict=True)
    return model


def test_published_size() -> None:
    with torch.device("meta"):
        model = OpenVla(openvla_7b())
    # The published file has 7,541,237,184: one more block and a final norm per tower, and SigLIP's pooling head.
    last_blocks = sum(
        p.numel() for v in model.vision.children() for p in v.blocks[-1].parameters()
    )
    w, hidden = 1152, 4304
    pooling = 4 * (w * w + w) + 2 * w * hidden + hidden + w + 3 * w  # attention, MLP, latent, norm
    norms = 2 * (1024 + 1152)
    assert sum(p.numel() for p in model.parameters()) == 7_498_156_704
    assert 7_498_156_704 + last_blocks + norms + pooling == 7_541_237_184


def test_vision_and_projector(model: OpenVla, golden: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        features = model.vision(golden["in.pixel_values"])
        projected = model.projector(features)
    torch.testing.assert_close(features, golden["out.vision"], atol=1e-5, rtol=0)
    torch.testing.assert_close(projected, golden["out.projector"], atol=1e-5, rtol=0)


def test_logits_and_greedy_ids(model: OpenVla, golden: dict[str, torch.Tensor]) -> None:
    ids, logits = write_action(
        model, golden["in.pixel_values"], golden["in.input_ids"], constrained=False
    )
    assert ids[0].tolist() == golden["out.greedy_ids"].tolist()
    torch.testing.assert_close(logits[0], golden["out.step_logits"][:, 0], atol=1e-5, rtol=0)


def test_cached_steps_are_what_one_pass_gives(
    model: OpenVla, golden: dict[str, torch.Tensor]
) -> None:
    pixels, text = golden["in.pixel_values"], golden["in.input_ids"]
    ids, logits = write_action(model, pixels, text, constrained=False)
    for i in range(1, 7):
        with torch.no_grad():
            whole, _ = model.prompt(pixels, torch.cat((text, ids[:, :i]), 1))
        torch.testing.assert_close(whole, logits[:, i], atol=1e-5, rtol=0)


def test_constrained_ids_are_actions(model: OpenVla, golden: dict[str, torch.Tensor]) -> None:
    torch.manual_seed(0)
    pixels = torch.randn(8, *golden["in.pixel_values"].shape[1:])
    text = golden["in.input_ids"].expand(8, -1)
    ids, logits = write_action(model, pixels, text, constrained=True)
    assert ((ids >= 64) & (ids < 320)).all()
    assert torch.equal(ids[:, 0], logits[:, 0, 64:320].argmax(-1) + 64)


def test_ids_mean_what_the_reference_says(
    golden: dict[str, torch.Tensor], norm_stats: dict
) -> None:
    np.testing.assert_allclose(
        EdgeBins().decode(np.arange(255)), golden["out.bin_centers"].numpy(), atol=1e-15
    )
    normalised = inputs.actions_of(golden["out.demo_ids"].numpy(), 320)
    np.testing.assert_allclose(normalised, golden["out.demo_normalized"].numpy(), atol=1e-12)
    actions = inputs.action_range(norm_stats, "bridge_orig", NAMES).restore(normalised)
    np.testing.assert_allclose(actions, golden["out.demo_actions"].numpy(), atol=1e-12)


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=20))
def test_codecs_round_trip_within_half_a_bin(values: list[float]) -> None:
    for codec, half in ((UniformBins(), 1 / 256), (EdgeBins(), 1 / 255)):
        error = codec.decode(codec.encode(values)) - np.clip(values, -1, 1)
        assert np.abs(error).max() <= half + 1e-12, codec


def test_the_two_codecs_differ_and_refuse() -> None:
    assert UniformBins().decode(128) != EdgeBins().decode(128)
    assert EdgeBins().encode([-1.0, 1.0]).tolist() == [0, 255]
    assert EdgeBins().decode(254) == EdgeBins().decode(255)
    for codec in (UniformBins, EdgeBins):
        with pytest.raises(ValueError, match="not finite"):
            codec().encode([math.nan])
        with pytest.raises(ValueError, match=r"expected 0\.\.255"):
            codec().decode([256])


def test_words_among_the_answer_become_an_outermost_bin() -> None:
    low, high = EdgeBins().decode([0, 255])
    assert inputs.actions_of([5, 31_999, 32_010], 32_000).tolist() == [high, low, low]


def test_data_set_key(norm_stats: dict) -> None:
    two = norm_stats | {"fractal": norm_stats["bridge_orig"]}
    only = inputs.action_range(norm_stats, None, NAMES)
    assert only.lower[-1] == -1 and only.upper[-1] == 1  # the gripper is not normalised
    with pytest.raises(ValueError, match=r"expected one of the data sets.*bridge_orig, fractal"):
        inputs.action_range(two, None, NAMES)
    with pytest.raises(ValueError, match="got 'bridge', expected one of: bridge_orig, fractal"):
        inputs.action_range(two, "bridge", NAMES)
    with pytest.raises(ValueError, match="none"):
        inputs.action_range({}, None, NAMES)
    with pytest.raises(ValueError, match=r"bridge_orig.*'q01': 7.*expected 6"):
        inputs.action_range(norm_stats, None, NAMES[:6])
    with pytest.raises(ValueError, match="lacks q99"):
        inputs.action_range({"a": {"action": {"q01": [0.0] * 7}}}, None, NAMES)
    flat = {"action": norm_stats["bridge_orig"]["action"] | {"q99": [0.0] * 7, "q01": [0.0] * 7}}
    with pytest.raises(ValueError, match="statistics of 'dx': got range"):
        inputs.action_range({"a": flat}, None, NAMES)


def test_picture_is_squeezed_and_normalised_twice() -> None:
    image = np.zeros((30, 60, 3), np.uint8)
    image[:, :, 0] = 255
    mean, std = (inputs.IMAGENET[i] + inputs.HALF[i] for i in (0, 1))
    x = inputs.pixels(image, 28, mean, std, crop=False)
    assert x.shape == (1, 6, 28, 28)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225, 1.0, -1.0, -1.0]
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.tensor(expected), atol=1e-5, rtol=0)


def test_crop_shows_the_middle_of_the_picture() -> None:
    ramp = torch.linspace(0, 1, 101).expand(1, 3, 101, 101).contiguous()
    cropped = inputs.centre_crop(ramp)
    margin = (1 - math.sqrt(0.9)) / 2
    assert cropped[0, 0, 50, 0].item() == pytest.approx(margin, abs=1 / 255)
    assert cropped[0, 0, 50, -1].item() == pytest.approx(1 - margin, abs=1 / 255)
    assert cropped[0, 0, 50, 50].item() == pytest.approx(0.5, abs=1 / 255)
    torch.testing.assert_close(cropped[0, :, 0], cropped[0, :, -1])


@pytest.mark.slow
def test_llama_is_transformers_llama() -> None:
    """Live, on a config drawn anew each run."""
    transformers = pytest.importorskip(
        "transformers", reason="a reference: pip install transformers"
    )
    seed = int(np.random.SeedSequence().entropy % 2**31)
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    kv = int(rng.integers(1, 4))
    heads, head_dim = kv * int(rng.integers(1, 4)), 2 * int(rng.integers(2, 9))
    config = LlamaConfig(
        heads * int(rng.integers(1, 9)), int(rng.integers(1, 4)), int(rng.integers(8, 60)), heads, kv, head_dim,
        eps=float(rng.choice([1e-6, 1e-5])), theta=float(rng.choice([1e4, 1e5])),
    )  # fmt: skip
    theirs = transformers.LlamaModel(
        transformers.LlamaConfig(
            vocab_size=16, hidden_size=config.width, intermediate_size=config.mlp,
            num_hidden_layers=config.depth, num_attention_heads=heads, num_key_value_heads=kv,
            head_dim=head_dim, rms_norm_eps=config.eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.theta},
        )
    ).eval()  # fmt: skip
    mine = Llama(config).eval()
    weights = {k: torch.randn_like(v) * 0.3 for k, v in mine.state_dict().items()}
    mine.load_state_dict(weights)
    theirs.load_state_dict(weights | {"embed_tokens.weight": torch.zeros(16, config.width)})
    s = 9
    x = torch.randn(2, s, config.width)
    mask = torch.ones(2, s, s, dtype=torch.bool).tril()
    positions = torch.arange(s).expand(2, s)
    with torch.no_grad():
        expected = theirs(inputs_embeds=x).last_hidden_state
        got, _ = mine(x, positions, mask)
        head, cache = mine(x[:, :5], positions[:, :5], mask[:, :5, :5])
        tail, _ = mine(x[:, 5:], positions[:, 5:], mask[:, 5:], cache)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cat((head, tail), 1), got, atol=1e-5, rtol=1e-5)
