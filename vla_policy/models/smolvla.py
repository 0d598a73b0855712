"""SmolVLA: the lower half of SmolVLM2 reads, a narrower expert beside it turns noise into actions.

    prefix   [image tokens | text] [state]      language model, the state seen by nothing but itself and the actions
    suffix   noisy actions                      expert; even layers: joint self-attention over the language model's
                                                keys and values and earlier actions, odd layers: attention onto
                                                nothing but the language model's keys and values, projected anew

What the prefix gives does not depend on the flow's time, so it is computed once per observation, with the odd
layers' projections. Of its last layer only keys and values are ever read.
Source: SmolVLA (arXiv:2506.01844), with the rules of its published weights; SmolVLM2 (arXiv:2504.05299).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from .config import SiglipConfig
from .flow import time_embedding
from .gemma import LayerCache, rotate
from .llama import Llama, LlamaBlock, LlamaConfig, LlamaNorm, llama_angles
from .mask import block_mask, positions_of, suffix_mask
from .siglip import Siglip


@dataclass(frozen=True, slots=True)
class SmolVlaConfig:
    """shuffle: image patches joined per side into one token. joint_every: expert layers 0, joint_every, ... attend jointly.

    language and expert share depth and head geometry. max_text: tokens of the longest prompt.
    """

    name: str
    vocab: int
    vision: SiglipConfig
    shuffle: int
    language: LlamaConfig
    expert: LlamaConfig
    joint_every: int
    state_dim: int
    action_dim: int
    max_text: int
    rows: int
    steps: int

    def __post_init__(self) -> None:
        a, b = (
            (c.depth, c.heads, c.kv_heads, c.head_dim, c.theta)
            for c in (self.language, self.expert)
        )
        if a != b:
            raise ValueError(
                "expert: depth, heads, kv_heads, head_dim and theta must equal the language model's: "
                f"got {b}, expected {a}"
            )
        side = self.vision.image_px // self.vision.patch_px
        if side % self.shuffle or side & (side - 1):
            # SmolVLM numbers patches by rounding fractions, which is off for some other counts.
            raise ValueError(
                f"vision: got {side} patches a side, expected a power of two that {self.shuffle} divides"
            )
        if self.joint_every < 1:
            raise ValueError(f"joint_every: got {self.joint_every}, expected at least 1")

    @property
    def image_tokens(self) -> int:
        """Tokens of one picture."""
        return (self.vision.image_px // self.vision.patch_px // self.shuffle) ** 2


def smolvla_450m() -> SmolVlaConfig:
    """The published size: 16 of the 32 layers of SmolVLM2-500M and an expert of 0.75 of its width."""
    heads = {"depth": 16, "heads": 15, "kv_heads": 5, "head_dim": 64}
    return SmolVlaConfig(
        name="smolvla-450m",
        vocab=49_280,
        vision=SiglipConfig(image_px=512, patch_px=16, width=768, depth=12, mlp=3072, heads=12),
        shuffle=4,
        language=LlamaConfig(width=960, mlp=2560, **heads),
        expert=LlamaConfig(width=720, mlp=2048, **heads),
        joint_every=2,
        state_dim=32,
        action_dim=32,
        max_text=48,
        rows=50,
        steps=10,
    )


@dataclass(frozen=True, slots=True)
class SmolPrefix:
    """One observation as the expert reads it.

    cache: per layer, the language model's keys and values, or for odd layers the expert's projections of them.
    """

    cache: list[LayerCache]
    valid: Bool[Tensor, "b p"]

    def repeat(self, times: int) -> "SmolPrefix":
        """Each row times over, next to each other."""
        cache = [tuple(x.repeat_interleave(times, 0) for x in layer) for layer in self.cache]
        return SmolPrefix(cache, self.valid.repeat_interleave(times, 0))


class Expert(nn.Module):
    """The blocks that actions go through. Those that do not attend jointly make keys and values from the prefix's."""

    def __init__(self, config: LlamaConfig, joint_every: int) -> None:
        super().__init__()
        self.joint_every = joint_every
        self.head_dim, self.theta = config.head_dim, config.theta
        kv_width = config.kv_heads * config.head_dim
        self.layers = nn.ModuleList(
            LlamaBlock(config, kv_from=None if self.is_joint(i) else kv_width)
            for i in range(config.depth)
        )
        self.norm = LlamaNorm(config.width, config.eps)

    def is_joint(self, layer: int) -> bool:
        """Whether actions of this layer also attend to earlier actions."""
        return layer % self.joint_every == 0

    def read(self, layer: int, keys_values: LayerCache) -> LayerCache:
        """The language model's keys and values as the expert's layer uses them; rotary positions stay in the keys."""
        if self.is_joint(layer):
            return keys_values
        attention = self.layers[layer].self_attn
        k, v = (x.transpose(1, 2).flatten(2) for x in keys_values)  # (b, p, kv_heads * head_dim)
        return (
            attention.split(attention.k_proj(k), attention.kv_heads),
            attention.split(attention.v_proj(v), attention.kv_heads),
        )

    def forward(self, x: Float[Tensor, "b t e"], prefix: SmolPrefix) -> Float[Tensor, "b t e"]:
        """Actions in their order: each sees the prefix and, in joint layers, itself and those before it."""
        t = x.shape[1]
        starts = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        joint = suffix_mask(prefix.valid, starts)
        cross = joint[:, :, :-t]
        steps = torch.arange(t, device=x.device)[None]
        behind = llama_angles(
            prefix.valid.sum(-1, keepdim=True) + steps, self.head_dim, self.theta
        )
        restarted = llama_angles(steps, self.head_dim, self.theta)
        for i, layer in enumerate(self.layers):
            if self.is_joint(i):
                x, _ = layer(x, behind, joint, prefix.cache[i])
            else:
                attention = layer.self_attn
                q = attention.split(attention.q_proj(layer.input_layernorm(x)), attention.heads)
                x = x + attention.attend(rotate(q, restarted), *prefix.cache[i], cross)
                x = x + layer.mlp(layer.post_attention_layernorm(x))
        return self.norm(x)


class SmolVla(nn.Module):
    def __init__(self, config: SmolVlaConfig) -> None:
        super().__init__()
        self.config = config
        width, narrow = config.language.width, config.expert.width
        self.vision = Siglip(config.vision)
        self.connector = nn.Linear(config.vision.width * config.shuffle**2, width, bias=False)
        self.embed_tokens = nn.Embedding(config.vocab, width)
        self.language = Llama(config.language)
        self.expert = Expert(config.expert, config.joint_every)
        self.state_proj = nn.Linear(config.state_dim, width)
        self.action_in_proj = nn.Linear(config.action_dim, narrow)
        self.action_time_mlp_in = nn.Linear(2 * narrow, narrow)
        self.action_time_mlp_out = nn.Linear(narrow, narrow)
        self.action_out_proj = nn.Linear(narrow, config.action_dim)

    def image_tokens(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b i e"]:
        """images in [-1, 1], all cameras in one batch."""
        return self.connector(join_patches(self.vision(images), self.config.shuffle))

    def prefix(
        self,
        image_tokens: Float[Tensor, "b i e"],
        image_valid: Bool[Tensor, "b i"],
        text: Int[Tensor, "b s"],
        text_valid: Bool[Tensor, "b s"],
        state: Float[Tensor, "b n"],
    ) -> SmolPrefix:
        """image_valid, text_valid: false for absent cameras and padding; what is false may as well be left out."""
        x, valid, starts = self.embed_prefix(image_tokens, image_valid, text, text_valid, state)
        mask, angles = block_mask(starts, valid), self._angles(valid)
        cache = []
        for i, layer in enumerate(self.language.layers):
            if i + 1 < len(self.language.layers):
                x, kept = layer(x, angles, mask, None)
            else:
                kept = layer.self_attn.keys_values(layer.input_layernorm(x), angles)
            cache.append(self.expert.read(i, kept))
        return SmolPrefix(cache, valid)

    def embed_prefix(
        self,
        image_tokens: Float[Tensor, "b i e"],
        image_valid: Bool[Tensor, "b i"],
        text: Int[Tensor, "b s"],
        text_valid: Bool[Tensor, "b s"],
        state: Float[Tensor, "b n"],
    ) -> tuple[Float[Tensor, "b p e"], Bool[Tensor, "b p"], Bool[Tensor, "b p"]]:
        """What the language model reads, which of it is there, and where blocks of attention start."""
        scale = self.config.language.width**0.5
        words = self.embed_tokens(text) * scale
        parts = (image_tokens.to(words.dtype) * scale, words, self.state_proj(state)[:, None])
        valid = F.pad(torch.cat((image_valid, text_valid), 1), (0, 1), value=True)
        starts = torch.zeros_like(valid)
        starts[:, -1] = True
        return torch.cat(parts, 1), valid, starts

    def forward(
        self, prefix: SmolPrefix, noisy: Float[Tensor, "b t d"], time: Float[Tensor, " b"]
    ) -> Float[Tensor, "b t d"]:
        """Velocity dx/dt of the noisy actions at time (1 noise, 0 data)."""
        x = self.action_in_proj(noisy)
        t = time_embedding(time, x.shape[-1]).to(x.dtype)[:, None].expand_as(x)
        x = self.action_time_mlp_out(F.silu(self.action_time_mlp_in(torch.cat((x, t), -1))))
        return self.action_out_proj(self.expert(x, prefix))

    def _angles(self, valid: Bool[Tensor, "b p"]) -> tuple[Tensor, Tensor]:
        language = self.config.language
        return llama_angles(positions_of(valid), language.head_dim, language.theta)


def join_patches(x: Float[Tensor, "b s e"], side: int) -> Float[Tensor, "b i f"]:
    """side x side neighbouring patches of a square picture to one, features row by row (SmolVLM's pixel shuffle)."""
    n = int(x.shape[1] ** 0.5) // side
    x = x.unflatten(1, (n, side, n, side)).transpose(2, 3)  # (b, n, n, side, side, e)
    return x.flatten(3).flatten(1, 2)
