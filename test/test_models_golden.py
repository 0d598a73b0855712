"""The networks against tensors made by lerobot 0.4.4's pi0 (test/golden/ref_pi0_tiny.safetensors).

Random weights, 3 layers, 3 cameras of which one is masked in part of the batch, fp32 on the CPU.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from vla_policy.models import flow
from vla_policy.models.config import FlowHeadConfig, GemmaConfig, ModelConfig, SiglipConfig
from vla_policy.models.mask import block_mask
from vla_policy.models.vla import VLA, Prefix

GOLDEN = Path(__file__).parent / "golden" / "ref_pi0_tiny.safetensors"
LANGUAGE = "paligemma_with_expert.paligemma.model.language_model."
VISION = "paligemma_with_expert.paligemma.model.vision_tower.vision_model."
RENAMED = (
    ("paligemma_with_expert.gemma_expert.model.", "flow.expert."),
    (LANGUAGE + "embed_tokens.", "embed_tokens."),
    (LANGUAGE, "language."),
    (VISION + "embeddings.position_embedding.weight", "vision.position_embedding"),
    (VISION + "embeddings.", "vision."),
    (VISION + "encoder.", "vision."),
    (VISION, "vision."),
    ("paligemma_with_expert.paligemma.model.multi_modal_projector.linear.", "projector."),
    (".mlp.fc", ".fc"),
)
UNUSED = ("lm_head.weight",)


def ours(key: str) -> str:
    for theirs, name in RENAMED:
        key = key.replace(theirs, name)
    return (
        key
        if key.startswith(("flow.", "language.", "vision.", "projector.", "embed_tokens."))
        else f"flow.{key}"
    )


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with safe_open(GOLDEN, "pt") as file:
        return {k: file.get_tensor(k) for k in file.keys()}


@pytest.fixture(scope="module")
def model(golden: dict[str, torch.Tensor]) -> VLA:
    with safe_open(GOLDEN, "pt") as file:
        sizes = json.loads(file.metadata()["config"])

    def gemma(c: dict) -> GemmaConfig:
        return GemmaConfig(
            c["width"], c["depth"], c["mlp_dim"], c["num_heads"], c["num_kv_heads"], c["head_dim"]
        )

    v = sizes["vision"]
    vision = SiglipConfig(
        v["image_size"], v["patch_size"], v["hidden_size"], v["num_hidden_layers"],
        v["intermediate_size"], v["num_attention_heads"],
    )  # fmt: skip
    config = ModelConfig(
        name="golden", vocab=sizes["vocab"], language=gemma(sizes["vlm"]), vision=vision, cameras=3,
        state_dim=32, action_dim=sizes["action_dim"], state_token="suffix", max_text=12,
        flow=FlowHeadConfig(gemma(sizes["expert"]), sizes["chunk"], 10), token=None,
    )  # fmt: skip
    model = VLA(config).eval()
    weights = {
        ours(k[2:]): v for k, v in golden.items() if k.startswith("w.") and not k.endswith(UNUSED)
    }
    model.load_state_dict(weights, strict=True)
    return model


@pytest.fixture(scope="module")
def prefix(model: VLA, golden: dict[str, torch.Tensor]) -> Prefix:
    features = [model.vision(golden[f"in.image{i}"]) for i in range(3)]
    valid = torch.cat([golden[f"in.image_mask{i}"][:, None].expand(-1, 16) for i in range(3)], 1)
    text = golden["in.tokens"] * golden["in.token_mask"]
    with torch.no_grad():
        return model.prefix(torch.cat(features, 1), text, golden["in.state"], valid)


def test_image_features(model: VLA, golden: dict[str, torch.Tensor]) -> None:
    features = model.projector(model.vision(golden["in.image0"]))
    torch.testing.assert_close(features, golden["out.img0_features"], atol=1e-5, rtol=0)


def test_masks(prefix: Prefix, golden: dict[str, torch.Tensor]) -> None:
    assert torch.equal(prefix.valid, golden["out.prefix_pad"])
    starts = torch.zeros(2, 69, dtype=torch.bool)
    starts[:, [60, 61]] = True  # state, then actions
    valid = torch.cat((prefix.valid, torch.ones(2, 9, dtype=torch.bool)), 1)
    assert torch.equal(block_mask(starts, valid), golden["out.att_2d"])


@pytest.mark.parametrize(("steps", "tolerance"), [(1, 1e-5), (10, 1e-4)])
def test_actions(
    model: VLA, prefix: Prefix, golden: dict[str, torch.Tensor], steps: int, tolerance: float
) -> None:
    with torch.no_grad():
        actions = flow.integrate(
            lambda x, t: model.flow(prefix, golden["in.state"], x, t), golden["in.noise"], steps
        )
    torch.testing.assert_close(actions, golden[f"out.actions{steps}"], atol=tolerance, rtol=0)


def test_loss(model: VLA, prefix: Prefix, golden: dict[str, torch.Tensor]) -> None:
    noisy, velocity = flow.interpolate(golden["in.actions"], golden["in.noise"], golden["in.time"])
    with torch.no_grad():
        predicted = model.flow(prefix, golden["in.state"], noisy, golden["in.time"])
    torch.testing.assert_close(
        (predicted - velocity).square(), golden["out.loss"], atol=1e-5, rtol=1e-5
    )
