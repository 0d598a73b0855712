"""SmolVLA against tensors made by lerobot 0.4.4 (test/golden/ref_smolvla_tiny.safetensors).

Random weights, 4 layers, 2 cameras of which one is masked in half of the batch, fp32 on the CPU.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from vla_policy.formats.tensors.smolvla_names import NAMING
from vla_policy.models import flow
from vla_policy.models.config import SiglipConfig
from vla_policy.models.llama import LlamaConfig
from vla_policy.models.smolvla import (
    SmolFlowConfig,
    SmolPrefix,
    SmolVla,
    SmolVlaConfig,
    smolvla_450m,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "ref_smolvla_tiny.safetensors"
NEVER_READ = "w.vlm_with_expert.vlm.lm_head.weight"


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with safe_open(GOLDEN, "pt") as file:
        return {k: file.get_tensor(k) for k in file.keys()}


@pytest.fixture(scope="module")
def model(golden: dict[str, torch.Tensor]) -> SmolVla:
    with safe_open(GOLDEN, "pt") as file:
        sizes = json.loads(file.metadata()["config"])
    v, t = sizes["vision"], sizes["text"]
    heads = {
        "depth": sizes["num_vlm_layers"], "heads": t["num_attention_heads"],
        "kv_heads": t["num_key_value_heads"], "head_dim": t["head_dim"],
    }  # fmt: skip
    config = SmolVlaConfig(
        name="golden",
        vocab=t["vocab_size"],
        vision=SiglipConfig(
            v["image_size"], v["patch_size"], v["hidden_size"], v["num_hidden_layers"],
            v["intermediate_size"], v["num_attention_heads"],
        ),
        shuffle=sizes["scale_factor"],
        language=LlamaConfig(width=t["hidden_size"], mlp=t["intermediate_size"], **heads),
        flow=SmolFlowConfig(
            LlamaConfig(width=48, mlp=256, **heads), joint_every=2, rows=sizes["chunk"], steps=10
        ),
        state_dim=32, action_dim=32, max_text=9,
    )  # fmt: skip
    model = SmolVla(config).eval()
    weights = {
        NAMING.ours(k[2:]): v for k, v in golden.items() if k.startswith("w.") and k != NEVER_READ
    }
    model.load_state_dict(weights, strict=True)
    return model


def inputs(model: SmolVla, golden: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Arguments of prefix, with the absent camera and the padding in place."""
    images = torch.stack([golden["in.image0"], golden["in.image1"]], 1)  # (b, c, 3, h, w)
    return (
        model.vision(images.flatten(0, 1)).unflatten(0, images.shape[:2]).flatten(1, 2),
        golden["in.tokens"],
        golden["in.state"],
        torch.stack([golden["in.image_mask0"], golden["in.image_mask1"]], 1),
        golden["in.token_mask"],
    )


def sample(model: SmolVla, prefix: SmolPrefix, noise: torch.Tensor, steps: int) -> torch.Tensor:
    unread = torch.full((len(noise), 32), torch.nan)  # the state is in the prefix
    return flow.integrate(lambda x, t: model.flow(prefix, unread, x, t), noise, steps)


@torch.no_grad()
def test_what_the_language_model_reads(model: SmolVla, golden: dict[str, torch.Tensor]) -> None:
    features = model.image_tokens(model.vision(golden["in.image0"]))
    torch.testing.assert_close(features, golden["out.img0_features"], atol=1e-5, rtol=0)
    x, valid = model.embed(*inputs(model, golden))
    # Features times the root of the width, 8, and so is what sums in another order leave.
    torch.testing.assert_close(x, golden["out.prefix_embs"], atol=8e-5, rtol=0)
    assert valid.sum(1).tolist() == [8 + 6 + 1, 4 + 9 + 1]


@torch.no_grad()
def test_actions(model: SmolVla, golden: dict[str, torch.Tensor]) -> None:
    prefix = model.prefix(*inputs(model, golden))
    actions = sample(model, prefix, golden["in.noise"], 10)
    torch.testing.assert_close(actions, golden["out.actions10"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_absent_cameras_and_padding_may_be_left_out(
    model: SmolVla, golden: dict[str, torch.Tensor]
) -> None:
    for b, cameras, words in ((0, 2, 6), (1, 1, 9)):  # what the golden batch's masks leave
        row = [x[b : b + 1] for x in inputs(model, golden)]
        few = model.prefix(row[0][:, : cameras * 64], row[1][:, :words], row[2])
        assert few.valid.all() and few.valid.shape[1] == 4 * cameras + words + 1
        noise = golden["in.noise"][b : b + 1]
        actions = sample(model, few, noise, 10)
        torch.testing.assert_close(actions[0], golden["out.actions10"][b], atol=1e-5, rtol=0)
        masked = sample(model, model.prefix(*row), noise, 10)
        torch.testing.assert_close(actions, masked, atol=2e-6, rtol=0)


@torch.no_grad()
def test_candidates_share_a_prefix(model: SmolVla, golden: dict[str, torch.Tensor]) -> None:
    prefix = model.prefix(*inputs(model, golden))
    noise = torch.randn(6, 6, 32, generator=torch.Generator().manual_seed(0))
    together = sample(model, prefix.repeat(3), noise, 2)
    for i in range(6):
        alone = model.prefix(*(x[i // 3 : i // 3 + 1] for x in inputs(model, golden)))
        torch.testing.assert_close(
            together[i : i + 1], sample(model, alone, noise[i : i + 1], 2), atol=1e-5, rtol=0
        )


@torch.no_grad()
def test_actions_do_not_see_later_ones_but_the_state(
    model: SmolVla, golden: dict[str, torch.Tensor]
) -> None:
    patches, text, state, *valid = inputs(model, golden)
    prefix, noise, time = (
        model.prefix(patches, text, state, *valid),
        golden["in.noise"],
        torch.tensor([0.7, 0.3]),
    )
    changed = noise.clone()
    changed[:, 3:] += 1.0
    before = model.flow(prefix, state, noise, time)
    after = model.flow(prefix, state, changed, time)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])
    moved = model.prefix(patches, text, state + 1.0, *valid)
    assert not torch.allclose(model.flow(moved, state, noise, time), before)
    for (k, v), (k2, v2) in zip(prefix.cache, moved.cache, strict=True):
        assert torch.equal(k[:, :, :-1], k2[:, :, :-1]) and torch.equal(
            v[:, :, :-1], v2[:, :, :-1]
        )


def test_published_size() -> None:
    with torch.device("meta"):
        model = SmolVla(smolvla_450m())
    ours = sum(p.numel() for p in model.parameters())
    assert ours == 402_737_376
    # Published as 450 M: with the language model's output layer, which no action goes through.
    assert ours + model.embed_tokens.weight.numel() == 450_046_176
    assert model.config.image_tokens == 64


def test_sizes_that_do_not_fit_are_refused() -> None:
    config = smolvla_450m()
    shallow = replace(config.flow.expert, depth=15)
    with pytest.raises(ValueError, match=r"flow.expert: depth.*got \(15, 15, 5, 64"):
        replace(config, flow=replace(config.flow, expert=shallow))
    with pytest.raises(ValueError, match="got 27 patches a side"):
        replace(config, vision=replace(config.vision, image_px=384, patch_px=14))
    with pytest.raises(ValueError, match="joint_every: got 0"):
        replace(config, flow=replace(config.flow, joint_every=0))
