"""SmolVLA against transformers' own SmolVLM vision, connector and Llama layers, on a config drawn anew each run.

The reference is slow and plain: every step runs the expert over the whole prefix again, in float64 where it is ours.
"""

import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from vla_policy.models import flow
from vla_policy.models.config import SiglipConfig
from vla_policy.models.llama import LlamaConfig
from vla_policy.models.smolvla import SmolFlowConfig, SmolVla, SmolVlaConfig

pytestmark = pytest.mark.skipif(
    find_spec("transformers") is None, reason="a reference: pip install transformers"
)


def draw(rng: np.random.Generator) -> SmolVlaConfig:
    def several(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    kv = several(1, 3)
    heads = {
        "depth": several(1, 5), "heads": kv * several(1, 3), "kv_heads": kv,
        "head_dim": 2 * several(2, 8),
    }  # fmt: skip
    patch, side = several(2, 6), 2 ** several(1, 3)
    return SmolVlaConfig(
        name="drawn", vocab=40,
        vision=SiglipConfig(patch * side, patch, 4 * several(2, 8), several(1, 3), several(8, 40), 4),
        shuffle=2 ** several(0, int(math.log2(side))),
        language=LlamaConfig(width=heads["heads"] * several(2, 8), mlp=several(8, 60), **heads),
        flow=SmolFlowConfig(
            LlamaConfig(width=heads["heads"] * 2 * several(1, 4), mlp=several(8, 60), **heads),
            joint_every=several(1, 3), rows=several(1, 7), steps=10,
        ),
        state_dim=several(2, 9), action_dim=several(2, 9), max_text=8,
    )  # fmt: skip


class Reference(nn.Module):
    """The same weights in transformers' classes."""

    def __init__(self, config: SmolVlaConfig, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        import transformers
        from transformers.models.smolvlm import modeling_smolvlm as smolvlm

        self.config, self.weights = config, weights
        v = config.vision
        self.vision = smolvlm.SmolVLMVisionTransformer(
            transformers.models.smolvlm.configuration_smolvlm.SmolVLMVisionConfig(
                hidden_size=v.width, intermediate_size=v.mlp, num_hidden_layers=v.depth,
                num_attention_heads=v.heads, image_size=v.image_px, patch_size=v.patch_px,
            )
        ).eval()  # fmt: skip
        self.language = transformers.LlamaModel(self.llama(config.language)).eval()
        self.expert = transformers.LlamaModel(self.llama(config.flow.expert)).eval()
        self.shuffle = smolvlm.SmolVLMConnector.pixel_shuffle
        fill(self.vision, "vision.", weights)
        fill(self.language, "language.", weights)
        fill(self.expert, "flow.expert.", weights)

    def llama(self, c: LlamaConfig) -> object:
        import transformers

        return transformers.LlamaConfig(
            vocab_size=4, hidden_size=c.width, intermediate_size=c.mlp, num_hidden_layers=c.depth,
            num_attention_heads=c.heads, num_key_value_heads=c.kv_heads, head_dim=c.head_dim,
            rms_norm_eps=c.eps, rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
            attn_implementation="eager",
        )  # fmt: skip

    def prefix(
        self, images: list[torch.Tensor], there: list[torch.Tensor],
        text: torch.Tensor, written: torch.Tensor, state: torch.Tensor,
    ) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], torch.Tensor]:  # fmt: skip
        """Keys and values of every layer, and which tokens count."""
        scale = math.sqrt(self.config.language.width)
        parts, valid = [], []
        for image, mask in zip(images, there, strict=True):
            tokens = self.vision(image).last_hidden_state
            joined = self.shuffle(None, tokens, self.config.shuffle)
            parts.append(joined @ self.weights["connector.weight"].T * scale)
            valid.append(mask[:, None].expand(-1, parts[-1].shape[1]))
        parts.append(self.weights["embed_tokens.weight"][text] * scale)
        parts.append(self.linear("state_proj", state)[:, None])
        valid += [written, torch.ones_like(written[:, :1])]
        x, valid = torch.cat(parts, 1), torch.cat(valid, 1)
        sees = valid[:, None, :].expand(-1, x.shape[1], -1).clone()
        sees[:, :-1, -1] = False  # nothing but the state sees the state
        cache = self.language(
            inputs_embeds=x, use_cache=True, position_ids=(valid.long().cumsum(1) - 1).clamp(min=0),
            attention_mask=torch.where(sees, 0.0, torch.finfo(torch.float32).min)[:, None],
        ).past_key_values  # fmt: skip
        return [(layer.keys, layer.values) for layer in cache.layers], valid

    def velocity(
        self, keys_values: list[tuple[torch.Tensor, torch.Tensor]], valid: torch.Tensor,
        noisy: torch.Tensor, time: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

        c, (b, t, _) = self.config.flow.expert, noisy.shape
        period = 4e-3 * 1000 ** torch.linspace(0, 1, c.width // 2, dtype=torch.float64)
        angle = 2 * math.pi * time.double()[:, None] / period
        waves = torch.cat((angle.sin(), angle.cos()), 1).float()[:, None].expand(-1, t, -1)
        x = torch.cat((self.linear("flow.action_in_proj", noisy), waves), 2)
        x = nn.functional.silu(self.linear("flow.action_time_mlp_in", x))
        x = self.linear("flow.action_time_mlp_out", x)
        before = valid[:, None].expand(-1, t, -1)
        earlier = torch.ones(t, t, dtype=torch.bool).tril().expand(b, -1, -1)
        for i, layer in enumerate(self.expert.layers):
            a, y = layer.self_attn, layer.input_layernorm(x)
            k, v = keys_values[i]
            q = heads(a.q_proj(y), c.head_dim)
            if i % self.config.flow.joint_every == 0:
                cos, sin = self.expert.rotary_emb(x, valid.sum(1, keepdim=True) + torch.arange(t))
                q, own = apply_rotary_pos_emb(q, heads(a.k_proj(y), c.head_dim), cos, sin)
                k, v = torch.cat((k, own), 2), torch.cat((v, heads(a.v_proj(y), c.head_dim)), 2)
                mask = torch.cat((before, earlier), 2)
            else:
                cos, sin = self.expert.rotary_emb(x, torch.arange(t)[None].expand(b, -1))
                q, _ = apply_rotary_pos_emb(q, q, cos, sin)
                k = heads(k.transpose(1, 2).flatten(2) @ self.weight(i, "k").T, c.head_dim)
                v = heads(v.transpose(1, 2).flatten(2) @ self.weight(i, "v").T, c.head_dim)
                mask = before
            x = x + a.o_proj(attend(q, k, v, mask))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return self.linear("flow.action_out_proj", self.expert.norm(x))

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def weight(self, layer: int, of: str) -> torch.Tensor:
        return self.weights[f"flow.expert.layers.{layer}.self_attn.{of}_proj.weight"]


def fill(module: nn.Module, prefix: str, weights: dict[str, torch.Tensor]) -> None:
    """Weights under prefix into module; the embedding is not used, cross-attention's projections do not fit."""
    theirs = {k: v.shape for k, v in module.state_dict().items()}
    renamed = {}
    for key, value in weights.items():
        if not key.startswith(prefix):
            continue
        key = key[len(prefix) :]
        for a, b in (
            ("patch_embedding", "embeddings.patch_embedding"),
            ("position_embedding", "embeddings.position_embedding.weight"),
            (".fc", ".mlp.fc"),
        ):
            key = key.replace(a, b)
        key = f"encoder.{key}" if prefix == "vision." and key.startswith("layers.") else key
        renamed[key] = value
    missing = theirs.keys() - renamed.keys() - {"embed_tokens.weight"}
    assert not missing and not renamed.keys() - theirs.keys()
    module.load_state_dict(
        {k: v for k, v in renamed.items() if v.shape == theirs[k]}, strict=False
    )


def heads(x: torch.Tensor, head_dim: int) -> torch.Tensor:
    return x.unflatten(-1, (-1, head_dim)).transpose(1, 2)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    times = q.shape[1] // k.shape[1]
    k, v = (x.double().repeat_interleave(times, 1) for x in (k, v))
    scores = q.double() @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    weights = scores.masked_fill(~mask[:, None], -math.inf).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2).float()


@pytest.mark.parametrize("draw_number", range(4))
@torch.no_grad()
def test_transformers_pieces_give_the_same_actions(draw_number: int) -> None:
    seed = int(np.random.SeedSequence().entropy % 2**31)
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    config = draw(rng)
    what = f"seed {seed}: {config}"
    model = SmolVla(config).eval()
    weights = {k: torch.randn_like(v) * 0.2 for k, v in model.state_dict().items()}
    model.load_state_dict(weights)
    reference = Reference(config, weights)

    b, cameras = 3, int(rng.integers(1, 4))
    px = config.vision.image_px
    images = [torch.rand(b, 3, px, px) * 2 - 1 for _ in range(cameras)]
    there = [torch.rand(b) < 0.7 for _ in range(cameras)]
    text = torch.randint(0, config.vocab, (b, 8))
    written = torch.arange(8) < torch.randint(1, 9, (b, 1))
    state, noise = (
        torch.randn(b, config.state_dim),
        torch.randn(b, config.flow.rows, config.action_dim),
    )

    keys_values, valid = reference.prefix(images, there, text, written, state)
    patches = torch.cat([model.vision(image) for image in images], 1)
    prefix = model.prefix(patches, text, state, torch.stack(there, 1), written)
    assert torch.equal(prefix.valid, valid), what
    for steps, tolerance in ((1, 1e-5), (10, 5e-5)):
        x = noise
        for i in range(steps):
            time = torch.full((b,), 1 - i / steps)
            x = x - reference.velocity(keys_values, valid, x, time) / steps
        got = flow.integrate(lambda x, t: model.flow(prefix, state, x, t), noise, steps)
        torch.testing.assert_close(got, x, atol=tolerance, rtol=1e-5, msg=lambda m: f"{m}\n{what}")
