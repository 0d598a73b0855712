"""pi0 and its parts against `transformers`' own, live, on sizes and weights drawn anew each run."""

import secrets
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from vla_policy.formats.tensors import pi0_names
from vla_policy.models import flow
from vla_policy.models.config import FlowHeadConfig, GemmaConfig, ModelConfig, SiglipConfig
from vla_policy.models.gemma import Gemma
from vla_policy.models.siglip import Siglip
from vla_policy.models.vla import VLA

IMAGE_TOKEN = 0  # never embedded: picture places are filled with features


@pytest.fixture
def transformers() -> ModuleType:
    return pytest.importorskip("transformers", reason="a reference: pip install transformers")


@pytest.fixture
def rng() -> Iterator[np.random.Generator]:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - shown if the test fails
    torch.manual_seed(seed)
    yield np.random.default_rng(seed)


def draw(rng: np.random.Generator) -> ModelConfig:
    heads = int(rng.integers(1, 5))
    geometry = {
        "depth": int(rng.integers(1, 4)), "heads": heads, "kv_heads": 1,
        "head_dim": 2 * int(rng.integers(2, 12)),
    }  # fmt: skip
    vision_heads = int(rng.integers(1, 4))
    patch = int(rng.integers(3, 9))
    return ModelConfig(
        name="drawn", vocab=int(rng.integers(20, 90)),
        language=GemmaConfig(width=4 * int(rng.integers(4, 16)), mlp=int(rng.integers(8, 60)), **geometry),
        vision=SiglipConfig(
            image_px=patch * int(rng.integers(2, 6)), patch_px=patch, width=8 * vision_heads,
            depth=int(rng.integers(1, 4)), mlp=int(rng.integers(8, 60)), heads=vision_heads,
        ),
        cameras=int(rng.integers(1, 4)), state_dim=int(rng.integers(2, 12)), action_dim=int(rng.integers(2, 12)),
        state_token="suffix", max_text=int(rng.integers(3, 20)),
        flow=FlowHeadConfig(
            GemmaConfig(width=4 * int(rng.integers(2, 12)), mlp=int(rng.integers(8, 60)), **geometry),
            rows=int(rng.integers(2, 12)), steps=int(rng.integers(1, 8)),
        ),
        token=None,
    )  # fmt: skip


def shaken(model: nn.Module) -> nn.Module:
    """Every weight away from its initial value, norms and biases too."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5)
    return model.eval()


def gemma_options(config: GemmaConfig, vocab: int) -> dict:
    return {
        "model_type": "gemma", "hidden_size": config.width, "num_hidden_layers": config.depth,
        "intermediate_size": config.mlp, "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads, "head_dim": config.head_dim, "vocab_size": vocab,
        "hidden_activation": "gelu_pytorch_tanh",
    }  # fmt: skip


def siglip_options(config: SiglipConfig) -> dict:
    return {
        "model_type": "siglip_vision_model", "hidden_size": config.width, "image_size": config.image_px,
        "intermediate_size": config.mlp, "num_hidden_layers": config.depth, "patch_size": config.patch_px,
        "num_attention_heads": config.heads, "vision_use_head": False,
    }  # fmt: skip


def test_gemma_is_transformers_gemma(transformers: ModuleType, rng: np.random.Generator) -> None:
    config = draw(rng).language
    options = gemma_options(config, 32)
    del options["model_type"]
    theirs = shaken(transformers.GemmaModel(transformers.GemmaConfig(**options)))
    mine = Gemma(config).eval()
    mine.load_state_dict({k: v for k, v in theirs.state_dict().items() if "embed" not in k})
    x = torch.randn(2, 7, config.width)
    causal = torch.ones(7, 7, dtype=torch.bool).tril().expand(2, -1, -1)
    with torch.no_grad():
        expected = theirs(inputs_embeds=x).last_hidden_state
        got, _ = mine(x, torch.arange(7).expand(2, -1), causal)
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)


def test_siglip_is_transformers_siglip(transformers: ModuleType, rng: np.random.Generator) -> None:
    config = draw(rng).vision
    assert isinstance(config, SiglipConfig)
    options = siglip_options(config)
    del options["model_type"]
    theirs = shaken(transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**options)))
    mine = Siglip(config).eval()
    stem = pi0_names.WRAPPER + "paligemma.model.vision_tower."
    weights = {
        pi0_names.NAMING.ours(pi0_names.NAMING.canonical(stem + k)).removeprefix("vision."): v
        for k, v in theirs.state_dict().items()
    }
    mine.load_state_dict(weights)
    images = torch.rand(2, 3, config.image_px, config.image_px) * 2 - 1
    with torch.no_grad():
        expected = theirs(images).last_hidden_state
        got = mine(images)
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)


NATIVE = (  # transformers' names of the same tensors in its own class
    ("model.vlm.", pi0_names.WRAPPER + "paligemma.model."),
    ("model.dit.", pi0_names.WRAPPER + "gemma_expert.model."),
    ("embed_action_time.", ""),
)


def native_name(name: str) -> str:
    for theirs, stored in NATIVE:
        if name.startswith(theirs):
            return pi0_names.NAMING.ours(
                pi0_names.NAMING.canonical(stored + name.removeprefix(theirs))
            )
    return pi0_names.NAMING.ours(name)


def test_pi0_is_transformers_pi0(transformers: ModuleType, rng: np.random.Generator) -> None:
    config = draw(rng)
    language, vision, head = config.language, config.vision, config.flow
    assert isinstance(vision, SiglipConfig) and head is not None
    theirs = shaken(
        transformers.PI0ForConditionalGeneration(
            transformers.PI0Config(
                vlm_config={
                    "model_type": "paligemma", "text_config": gemma_options(language, config.vocab),
                    "vision_config": siglip_options(vision), "projection_dim": language.width,
                    "image_token_id": IMAGE_TOKEN,
                },
                dit_config=gemma_options(head.expert, config.vocab), chunk_size=head.rows,
                max_state_dim=config.state_dim, max_action_dim=config.action_dim,
            )
        )
    )  # fmt: skip
    mine = VLA(config).eval()
    weights = {
        native_name(k): v
        for k, v in theirs.state_dict().items()
        if k != "model.dit.embed_tokens.weight" and not k.startswith("model.vlm.lm_head")
    }
    weights["embed_tokens.weight"] = weights.pop("language.embed_tokens.weight")
    mine.load_state_dict(weights)

    b, cameras, patches = 2, config.cameras, (vision.image_px // vision.patch_px) ** 2
    images = torch.rand(b, cameras, 3, vision.image_px, vision.image_px) * 2 - 1
    text = torch.from_numpy(rng.integers(1, config.vocab, (b, config.max_text)))
    there = torch.arange(config.max_text) < torch.from_numpy(
        rng.integers(1, config.max_text + 1, (b, 1))
    )
    text = text * there
    state, noise = torch.randn(b, config.state_dim), torch.randn(b, head.rows, config.action_dim)
    places = torch.full((b, cameras * patches), IMAGE_TOKEN)
    with torch.no_grad():
        expected = theirs.sample_actions(
            state=state, input_ids=torch.cat((places, text.masked_fill(~there, 1)), 1),
            pixel_values=images, noise=noise, num_steps=head.steps,
            attention_mask=torch.cat((torch.ones_like(places), there.long()), 1),
            pixel_attention_mask=torch.ones(b, cameras, dtype=torch.bool),
        )  # fmt: skip
        tokens = mine.vision(images.flatten(0, 1)).unflatten(0, (b, cameras)).flatten(1, 2)
        prefix = mine.prefix(tokens, text, state)
        got = flow.integrate(lambda x, t: mine.flow(prefix, state, x, t), noise, head.steps)
    # Drawn weights make actions of any size; rounding grows with it.
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(got / scale, expected / scale, atol=5e-5, rtol=0)
