"""The Gemma decoder: RMSNorm, rotary positions, multi-query attention, GeGLU. Used for language and actions.

Source: Gemma (arXiv:2403.08295), as used in PaliGemma and pi0 (arXiv:2410.24164); Gemma 2
(arXiv:2408.00118), as used in PaliGemma 2 (arXiv:2412.03555), if config.gemma2 is given.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vla_policy.models.config import Gemma2Config, GemmaConfig
from vla_policy.models.layers import Layers

EPS = 1e-6
ROPE_THETA = 10_000.0

# Keys and values of one layer, [b, kv_heads, s, head_dim], rotary positions applied.
LayerCache = tuple[Tensor, Tensor]


class RMSNorm(nn.Module):
    """x * rsqrt(mean(x^2) + eps) * (1 + weight), computed in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "... e"]) -> Float[Tensor, "... e"]:
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + EPS)
        return (y * (1.0 + self.weight.float())).to(x.dtype)


class AdaRMSNorm(nn.Module):
    """RMSNorm whose scale, shift and gate come from a condition: norm(x) * (1 + scale) + shift, in float32.

    Source: pi0.5 (arXiv:2504.16054), as in openpi's Gemma.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, 3 * width)

    def forward(
        self, x: Float[Tensor, "b s e"], condition: Float[Tensor, "b e"] | Float[Tensor, "b s e"]
    ) -> tuple[Float[Tensor, "b s e"], Float[Tensor, "b 1 e"] | Float[Tensor, "b s e"]]:
        """The normed x and the gate of the following residual.

        condition: of all tokens or of each.
        """
        modulation = self.dense(condition.to(self.dense.weight.dtype))
        if modulation.ndim == 2:
            modulation = modulation[:, None]  # (b, 1, 3 e)
        scale, shift, gate = modulation.float().chunk(3, dim=-1)
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + EPS)
        return (y * (1.0 + scale) + shift).to(x.dtype), gate.to(x.dtype)


def rope_angles(positions: Int[Tensor, "b s"], head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine, float32[b, 1, s, head_dim / 2], of the half-split rotary embedding."""
    half = head_dim // 2
    exponent = torch.arange(half, device=positions.device, dtype=torch.float32) / half
    angle = positions[:, None, :, None].float() * ROPE_THETA**-exponent
    return angle.cos(), angle.sin()


def rotate(x: Float[Tensor, "b h s d"], angles: tuple[Tensor, Tensor]) -> Float[Tensor, "b h s d"]:
    """Rotate the pairs (x[i], x[i + d/2])."""
    cos, sin = angles
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


class Attention(nn.Module):
    """Multi-query attention over the given cache followed by x itself."""

    def __init__(self, config: GemmaConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.gemma2 = config.gemma2
        self.q_proj = nn.Linear(config.width, config.heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.width, config.kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.width, config.kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.heads * config.head_dim, config.width, bias=False)

    def forward(
        self,
        x: Float[Tensor, "b s e"],
        angles: tuple[Tensor, Tensor],
        mask: Bool[Tensor, "b s t"],
        cache: LayerCache | None,
    ) -> tuple[Float[Tensor, "b s e"], LayerCache]:
        q = rotate(self._split(self.q_proj(x), self.heads), angles)
        k = rotate(self._split(self.k_proj(x), self.kv_heads), angles)
        v = self._split(self.v_proj(x), self.kv_heads)
        if cache is not None:
            k, v = torch.cat((cache[0], k), dim=2), torch.cat((cache[1], v), dim=2)
        if self.gemma2 is None:
            y = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask[:, None], enable_gqa=self.kv_heads != self.heads
            )
        else:
            y = capped_attention(q, k, v, mask, self.gemma2)
        return self.o_proj(y.transpose(1, 2).flatten(2)), (k, v)

    def _split(self, x: Tensor, heads: int) -> Tensor:
        split: Tensor = x.unflatten(-1, (heads, self.head_dim)).transpose(1, 2)  # (b, h, s, d)
        return split


def capped_attention(
    q: Float[Tensor, "b h s d"],
    k: Float[Tensor, "b k t d"],
    v: Float[Tensor, "b k t d"],
    mask: Bool[Tensor, "b s t"],
    config: Gemma2Config,
) -> Float[Tensor, "b h s d"]:
    """Grouped-query attention; scores capped to +-attention_cap, then masked, float32 softmax."""
    groups = q.shape[1] // k.shape[1]
    q = q.unflatten(1, (-1, groups)) * config.query_scalar**-0.5  # (b, k, g, s, d)
    scores = config.attention_cap * torch.tanh(
        (q @ k[:, :, None].mT).float() / config.attention_cap
    )
    # As in the other path, a fully masked row (padding) is not NaN: it is never read.
    scores = scores.masked_fill(~mask[:, None, None], torch.finfo(scores.dtype).min)
    return (scores.softmax(-1).to(v.dtype) @ v[:, :, None]).flatten(1, 2)


def window_mask(mask: Bool[Tensor, "b s t"], window: int) -> Bool[Tensor, "b s t"]:
    """mask without tokens window or more back; tokens in one block still attend to each other."""
    s, t = mask.shape[1:]
    if t <= window:
        return mask
    index = torch.arange(t, device=mask.device)
    near = index[t - s :, None] - index < window
    own = mask[:, :, t - s :]
    return mask & (near | F.pad(own & own.mT, (t - s, 0)))


class GeGLU(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Float[Tensor, "... e"]) -> Float[Tensor, "... e"]:
        x = self.down_proj(F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))
        return x


class Block(nn.Module):
    """One layer. With a condition its norms are AdaRMSNorm and gate the residuals."""

    def __init__(self, config: GemmaConfig, *, conditioned: bool = False) -> None:
        super().__init__()
        norm = AdaRMSNorm if conditioned else RMSNorm
        self.input_layernorm = norm(config.width)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = norm(config.width)
        self.mlp = GeGLU(config.width, config.mlp)

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        mask: Tensor,
        cache: LayerCache | None,
        condition: Tensor | None = None,
    ) -> tuple[Tensor, LayerCache]:
        if condition is None:
            y, kept = self.self_attn(self.input_layernorm(x), angles, mask, cache)
            x = x + y
            return x + self.mlp(self.post_attention_layernorm(x)), kept
        y, gate = self.input_layernorm(x, condition)
        y, kept = self.self_attn(y, angles, mask, cache)
        x = x + y * gate
        y, gate = self.post_attention_layernorm(x, condition)
        return x + self.mlp(y) * gate, kept


class Gemma2Block(nn.Module):
    """A norm before and after attention and feed-forward.

    window: tokens attended to; None: all.
    """

    def __init__(self, config: GemmaConfig, window: int | None) -> None:
        super().__init__()
        self.window = window
        self.input_layernorm = RMSNorm(config.width)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.width)
        self.pre_feedforward_layernorm = RMSNorm(config.width)
        self.mlp = GeGLU(config.width, config.mlp)
        self.post_feedforward_layernorm = RMSNorm(config.width)

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        mask: Tensor,
        cache: LayerCache | None,
        condition: None = None,
    ) -> tuple[Tensor, LayerCache]:
        """condition is always None: both kinds of block have the same signature."""
        seen = mask if self.window is None else window_mask(mask, self.window)
        y, kept = self.self_attn(self.input_layernorm(x), angles, seen, cache)
        x = x + self.post_attention_layernorm(y)
        y = self.mlp(self.pre_feedforward_layernorm(x))
        return x + self.post_feedforward_layernorm(y), kept


class Gemma(nn.Module):
    """A stack of blocks and a final norm.

    Embedding and heads are outside, so it can be an expert too.
    """

    def __init__(self, config: GemmaConfig, *, conditioned: bool = False) -> None:
        super().__init__()
        self.config = config
        self.layers: Layers[Block | Gemma2Block]
        if config.gemma2 is None:
            self.layers = Layers(
                Block(config, conditioned=conditioned) for _ in range(config.depth)
            )
        else:
            windows = (config.gemma2.window, None)  # every second layer attends to all
            self.layers = Layers(Gemma2Block(config, windows[i % 2]) for i in range(config.depth))
        self.norm: AdaRMSNorm | RMSNorm
        self.norm = AdaRMSNorm(config.width) if conditioned else RMSNorm(config.width)

    def forward(
        self,
        x: Float[Tensor, "b s e"],
        positions: Int[Tensor, "b s"],
        mask: Bool[Tensor, "b s t"],
        cache: list[LayerCache] | None = None,
        condition: Float[Tensor, "b e"] | Float[Tensor, "b s e"] | None = None,
    ) -> tuple[Float[Tensor, "b s e"], list[LayerCache]]:
        """x attends where mask is true to the t = (cached + s) tokens of cache followed by itself.

        Another stack's cache may be given if the head geometry is the same: an action expert reads
        the language model's prefix (pi0's joint attention; the prefix never attends to the
        suffix).
        condition: of a conditioned stack, for all its norms: one vector, or one per token.
        Returns the normed output and the extended cache.
        """
        angles = rope_angles(positions, self.config.head_dim)
        grown = []
        for i, layer in enumerate(self.layers):
            x, kept = layer(x, angles, mask, None if cache is None else cache[i], condition)
            grown.append(kept)
        return (self.norm(x) if condition is None else self.norm(x, condition)[0]), grown
