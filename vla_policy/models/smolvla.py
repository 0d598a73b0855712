"""SmolVLA: the lower half of SmolVLM2 reads, a narrower expert beside it turns noise into actions.

    prefix   [image tokens | text] [state]      language model; only itself and the actions attend
                                                to the state
    suffix   noisy actions                      expert; even layers: joint self-attention over the
                                                language model's keys and values and earlier
                                                actions, odd layers: cross-attention to the
                                                language model's keys and values, projected again

The prefix does not depend on the flow's time, so it is computed once per observation, with the odd
layers' projections. Of its last layer only keys and values are read.
Source: SmolVLA (arXiv:2506.01844), with the rules of its published weights; SmolVLM2
(arXiv:2504.05299).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vla_policy.models.config import CHUNK, STACK, WHOLE, SiglipConfig, TokenHeadConfig
from vla_policy.models.flow import time_embedding
from vla_policy.models.gemma import LayerCache, rotate
from vla_policy.models.layers import Layers
from vla_policy.models.llama import Llama, LlamaBlock, LlamaConfig, LlamaNorm, llama_angles
from vla_policy.models.mask import block_mask, positions_of, suffix_mask
from vla_policy.models.siglip import Siglip
from vla_policy.parsing.dataclass_json import require_sizes


@dataclass(frozen=True, slots=True)
class SmolFlowConfig:
    """The expert. joint_every: its layers 0, joint_every, ... attend jointly. rows, steps: of a chunk and its flow."""

    expert: LlamaConfig
    joint_every: int
    rows: int
    steps: int
    prefix_trained: bool = False  # trained with clean leading rows (models/rtc.py); none is
    prefix_rows: int | None = None

    def __post_init__(self) -> None:
        require_sizes(self, CHUNK | {"joint_every": (1, STACK["depth"][1])})


@dataclass(frozen=True, slots=True)
class SmolVlaConfig:
    """shuffle: image patches joined per side into one token. max_text: tokens of the longest prompt.

    The language model and the expert share depth and head geometry.
    """

    name: str
    vocab: int
    vision: SiglipConfig
    shuffle: int
    language: LlamaConfig
    flow: SmolFlowConfig
    state_dim: int
    action_dim: int
    max_text: int
    token: TokenHeadConfig | None = None  # SmolVLA has no token head

    def __post_init__(self) -> None:
        sizes = ("vocab", "state_dim", "action_dim", "max_text")
        require_sizes(self, {name: WHOLE[name] for name in sizes} | {"shuffle": (1, 64)})
        a, b = (
            (c.depth, c.heads, c.kv_heads, c.head_dim, c.theta)
            for c in (self.language, self.flow.expert)
        )
        if a != b:
            raise ValueError(
                "flow.expert: depth, heads, kv_heads, head_dim and theta must equal the language model's: "
                f"got {b}, expected {a}"
            )
        side = self.vision.image_px // self.vision.patch_px
        if side % self.shuffle or side & (side - 1):
            # SmolVLM numbers patches by rounding fractions, which is wrong for some other counts.
            raise ValueError(
                f"vision: got {side} patches a side, expected a power of two that {self.shuffle} divides"
            )

    @property
    def image_tokens(self) -> int:
        """Tokens of one image."""
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
        flow=SmolFlowConfig(
            LlamaConfig(width=720, mlp=2048, **heads), joint_every=2, rows=50, steps=10
        ),
        state_dim=32,
        action_dim=32,
        max_text=48,
    )


@dataclass(frozen=True, slots=True)
class SmolPrefix:
    """One observation as input of the expert.

    cache: per layer, the language model's keys and values, or for odd layers the expert's projections of them.
    """

    cache: list[LayerCache]
    valid: Bool[Tensor, "b p"]

    def repeat(self, times: int) -> "SmolPrefix":
        """Each row times over, next to each other."""
        cache = [
            (keys.repeat_interleave(times, 0), values.repeat_interleave(times, 0))
            for keys, values in self.cache
        ]
        return SmolPrefix(cache, self.valid.repeat_interleave(times, 0))


class Expert(nn.Module):
    """The actions' blocks. Those without joint attention project the prefix's keys and values."""

    def __init__(self, config: LlamaConfig, joint_every: int) -> None:
        super().__init__()
        self.joint_every = joint_every
        self.head_dim, self.theta = config.head_dim, config.theta
        kv_width = config.kv_heads * config.head_dim
        self.layers: Layers[LlamaBlock]
        self.layers = Layers(
            LlamaBlock(config, kv_from=None if self.is_joint(i) else kv_width)
            for i in range(config.depth)
        )
        self.norm = LlamaNorm(config.width, config.eps)

    def is_joint(self, layer: int) -> bool:
        """Whether actions of this layer also attend to earlier actions."""
        return layer % self.joint_every == 0

    def read(self, layer: int, keys_values: LayerCache) -> LayerCache:
        """The language model's keys and values for the expert's layer, in the expert's precision.

        Rotary positions stay in the keys, also in those that are projected again.
        """
        attention = self.layers[layer].self_attn
        keys, values = (x.to(attention.k_proj.weight.dtype) for x in keys_values)
        if self.is_joint(layer):
            return keys, values
        k, v = (
            x.transpose(1, 2).flatten(2) for x in (keys, values)
        )  # (b, p, kv_heads * head_dim)
        return (
            attention.split(attention.k_proj(k), attention.kv_heads),
            attention.split(attention.v_proj(v), attention.kv_heads),
        )

    def forward(self, x: Float[Tensor, "b t e"], prefix: SmolPrefix) -> Float[Tensor, "b t e"]:
        """Actions in order: each attends to the prefix; in joint layers to itself and before."""
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
        x = self.norm(x)
        return x


class SmolFlow(nn.Module):
    """Noisy actions and time in, velocity out. Projections and expert have their own precision."""

    def __init__(self, config: SmolFlowConfig, action_dim: int) -> None:
        super().__init__()
        width = config.expert.width
        self.expert = Expert(config.expert, config.joint_every)
        self.action_in_proj = nn.Linear(action_dim, width)
        self.action_time_mlp_in = nn.Linear(2 * width, width)
        self.action_time_mlp_out = nn.Linear(width, width)
        self.action_out_proj = nn.Linear(width, action_dim)

    def forward(
        self,
        prefix: SmolPrefix,
        state: Float[Tensor, "b n"],
        noisy: Float[Tensor, "b t d"],
        time: Float[Tensor, " b"],
    ) -> Float[Tensor, "b t d"]:
        """Velocity dx/dt of the noisy actions at time (1 noise, 0 data).

        state is unused (in prefix).
        """
        x = self.action_in_proj(noisy)
        t = time_embedding(time, x.shape[-1]).to(x.dtype)[:, None].expand_as(x)
        x = self.action_time_mlp_out(F.silu(self.action_time_mlp_in(torch.cat((x, t), -1))))
        y = self.expert(x.to(prefix.cache[0][0].dtype), prefix)
        velocity: Tensor = self.action_out_proj(y.to(noisy.dtype))
        return velocity


class SmolVla(nn.Module):
    def __init__(self, config: SmolVlaConfig) -> None:
        super().__init__()
        self.config = config
        width = config.language.width
        self.vision = Siglip(config.vision)
        self.connector = nn.Linear(config.vision.width * config.shuffle**2, width, bias=False)
        self.embed_tokens = nn.Embedding(config.vocab, width)
        self.language = Llama(config.language)
        self.state_proj = nn.Linear(config.state_dim, width)
        self.flow = SmolFlow(config.flow, config.action_dim)

    def image_tokens(self, patches: Float[Tensor, "b s f"]) -> Float[Tensor, "b i e"]:
        """Features of the vision tower, of one or more images, to tokens of the language model."""
        side = self.config.vision.image_px // self.config.vision.patch_px
        b, pictures = len(patches), patches.shape[1] // side**2
        each = patches.unflatten(1, (pictures, side**2)).flatten(0, 1)  # (b * pictures, side^2, f)
        tokens = self.connector(join_patches(each, self.config.shuffle))
        tokens = tokens.unflatten(0, (b, pictures))
        together: Tensor = tokens.flatten(1, 2)
        return together

    def embed(
        self,
        patches: Float[Tensor, "b s f"],
        text: Int[Tensor, "b w"],
        state: Float[Tensor, "b n"],
        camera_valid: Bool[Tensor, "b c"] | None = None,
        text_valid: Bool[Tensor, "b w"] | None = None,
    ) -> tuple[Float[Tensor, "b p e"], Bool[Tensor, "b p"]]:
        """The language model's input, and which of it is valid. Arguments as in prefix."""
        scale = self.config.language.width**0.5
        words = self.embed_tokens(text) * scale
        images = self.image_tokens(patches).to(words.dtype) * scale
        own = self.state_proj(state.to(self.state_proj.weight.dtype))[:, None].to(words.dtype)
        there = torch.ones(images.shape[:2], dtype=torch.bool, device=images.device)
        if camera_valid is not None:
            there = camera_valid.repeat_interleave(self.config.image_tokens, 1)
        if text_valid is None:
            text_valid = torch.ones_like(text, dtype=torch.bool)
        valid = F.pad(torch.cat((there, text_valid), 1), (0, 1), value=True)
        return torch.cat((images, words, own), 1), valid

    def prefix(
        self,
        patches: Float[Tensor, "b s f"],
        text: Int[Tensor, "b w"],
        state: Float[Tensor, "b n"],
        camera_valid: Bool[Tensor, "b c"] | None = None,
        text_valid: Bool[Tensor, "b w"] | None = None,
        *,
        detach: bool = False,
    ) -> SmolPrefix:
        """patches: features of the vision tower, camera after camera. text: ids.

        camera_valid, text_valid: false for absent cameras and padding; None: all valid. Invalid
        parts may also be left out of patches and text. detach: no gradients through the expert's
        input.
        """
        x, valid = self.embed(patches, text, state, camera_valid, text_valid)
        starts = torch.zeros_like(valid)
        starts[:, -1] = True  # only the state itself and the actions attend to the state
        mask, config = block_mask(starts, valid), self.config.language
        angles = llama_angles(positions_of(valid), config.head_dim, config.theta)
        cache = []
        for i, layer in enumerate(self.language.layers):
            if i + 1 < config.depth:
                x, kept = layer(x, angles, mask, None)
            else:
                kept = layer.self_attn.keys_values(layer.input_layernorm(x), angles)
            if detach:
                kept = kept[0].detach(), kept[1].detach()
            cache.append(self.flow.expert.read(i, kept))
        return SmolPrefix(cache, valid)


def join_patches(x: Float[Tensor, "b s f"], side: int) -> Float[Tensor, "b i g"]:
    """side x side adjacent patches of an image to one, row by row (SmolVLM's pixel shuffle)."""
    n = int(x.shape[1] ** 0.5) // side
    x = x.unflatten(1, (n, side, n, side)).transpose(2, 3)  # (b, n, n, side, side, f)
    return x.flatten(3).flatten(1, 2)
