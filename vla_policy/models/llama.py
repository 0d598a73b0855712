"""The Llama decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

Source: Llama 2 (arXiv:2307.09288), as used in OpenVLA (arXiv:2406.09246) and, with grouped
queries, SmolLM2.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vla_policy.models.config import require_stack
from vla_policy.models.gemma import LayerCache, rotate
from vla_policy.models.layers import Layers
from vla_policy.parsing.dataclass_json import require_sizes


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """A Llama decoder stack. eps: of the norms. theta: base of the rotary frequencies."""

    width: int
    depth: int
    mlp: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float = 1e-5
    theta: float = 10_000.0

    def __post_init__(self) -> None:
        require_stack(self)
        require_sizes(self, {"eps": (1e-12, 1e-2), "theta": (1.0, 1e9)})


class LlamaNorm(nn.Module):
    """x * rsqrt(mean(x^2) + eps) * weight, the mean in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "... e"]) -> Float[Tensor, "... e"]:
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        return (self.weight * y.to(x.dtype)).to(x.dtype)  # the weight may be kept in float32


def llama_angles(
    positions: Int[Tensor, "b s"], head_dim: int, theta: float
) -> tuple[Tensor, Tensor]:
    """Cosine and sine, float32[b, 1, s, head_dim / 2], of the half-split rotary embedding."""
    exponent = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32)
    angle = positions[:, None, :, None].float() * theta ** (-exponent / head_dim)
    return angle.cos(), angle.sin()


class LlamaAttention(nn.Module):
    """Grouped-query attention over the given cache followed by x itself.

    kv_from: width of the input of keys and values, if that is not x.
    """

    def __init__(self, config: LlamaConfig, kv_from: int | None = None) -> None:
        super().__init__()
        kv_from = config.width if kv_from is None else kv_from
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.q_proj = nn.Linear(config.width, config.heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(kv_from, config.kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(kv_from, config.kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.heads * config.head_dim, config.width, bias=False)

    def forward(
        self,
        x: Float[Tensor, "b s e"],
        angles: tuple[Tensor, Tensor],
        mask: Bool[Tensor, "b s t"] | None,
        cache: LayerCache | None,
    ) -> tuple[Float[Tensor, "b s e"], LayerCache]:
        q = rotate(self.split(self.q_proj(x), self.heads), angles)
        k, v = self.keys_values(x, angles)
        if cache is not None:
            k, v = torch.cat((cache[0], k), dim=2), torch.cat((cache[1], v), dim=2)
        return self.attend(q, k, v, mask), (k, v)

    def keys_values(self, x: Float[Tensor, "b s e"], angles: tuple[Tensor, Tensor]) -> LayerCache:
        """The keys and values of x for a cache."""
        k = rotate(self.split(self.k_proj(x), self.kv_heads), angles)
        return k, self.split(self.v_proj(x), self.kv_heads)

    def attend(
        self,
        q: Float[Tensor, "b h s d"],
        k: Float[Tensor, "b k t d"],
        v: Float[Tensor, "b k t d"],
        mask: Bool[Tensor, "b s t"] | None,
    ) -> Float[Tensor, "b s e"]:
        """Softmax attention where mask is true (None: everywhere), then the output projection."""
        grouped = self.kv_heads != self.heads
        seen = None if mask is None else mask[:, None]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=grouped)
        out: Tensor = self.o_proj(y.transpose(1, 2).flatten(2))
        return out

    def split(self, x: Float[Tensor, "b s e"], heads: int) -> Float[Tensor, "b h s d"]:
        """Columns to heads."""
        split: Tensor = x.unflatten(-1, (heads, self.head_dim)).transpose(1, 2)
        return split


class SwiGLU(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Float[Tensor, "... e"]) -> Float[Tensor, "... e"]:
        x = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return x


class LlamaBlock(nn.Module):
    def __init__(self, config: LlamaConfig, kv_from: int | None = None) -> None:
        super().__init__()
        self.input_layernorm = LlamaNorm(config.width, config.eps)
        self.self_attn = LlamaAttention(config, kv_from)
        self.post_attention_layernorm = LlamaNorm(config.width, config.eps)
        self.mlp = SwiGLU(config.width, config.mlp)

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: LayerCache | None,
    ) -> tuple[Tensor, LayerCache]:
        y, kept = self.self_attn(self.input_layernorm(x), angles, mask, cache)
        x = x + y
        return x + self.mlp(self.post_attention_layernorm(x)), kept


class Llama(nn.Module):
    """A stack of blocks and a final norm. Embedding and output layer are outside."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.layers: Layers[LlamaBlock]
        self.layers = Layers(LlamaBlock(config) for _ in range(config.depth))
        self.norm = LlamaNorm(config.width, config.eps)

    def forward(
        self,
        x: Float[Tensor, "b s e"],
        positions: Int[Tensor, "b s"],
        mask: Bool[Tensor, "b s t"] | None,
        cache: list[LayerCache] | None = None,
    ) -> tuple[Float[Tensor, "b s e"], list[LayerCache]]:
        """x attends where mask is true to the t = (cached + s) tokens of cache followed by itself.

        mask None: to all of them, without reading a mask.
        Returns the normed output and the extended cache.
        """
        angles = llama_angles(positions, self.config.head_dim, self.config.theta)
        grown = []
        for i, layer in enumerate(self.layers):
            x, kept = layer(x, angles, mask, None if cache is None else cache[i])
            grown.append(kept)
        return self.norm(x), grown
