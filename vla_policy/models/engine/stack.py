"""Runs a folded Gemma stack over a static cache of keys and values, written in place."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vla_policy.models.engine import kernels
from vla_policy.models.engine.fold import Modulation, Stack
from vla_policy.models.gemma import ROPE_THETA


@dataclass(frozen=True, slots=True)
class Cache:
    """Keys and values of all layers, written once per observation; the suffix's many times.

    keys, values: [layer, b, kv_heads, s, head_dim]. valid: bool[b, s], or None if all tokens are.
    """

    keys: Tensor
    values: Tensor
    valid: Tensor | None


def new_cache(
    stack: Stack, batch: int, tokens: int, valid: Tensor | None, like: Tensor, dtype: torch.dtype
) -> Cache:
    """An empty cache of dtype on the device of like."""
    shape = (len(stack.layers), batch, stack.kv_heads, tokens, stack.head_dim)
    keys, values = (like.new_empty(shape, dtype=dtype) for _ in range(2))
    return Cache(keys, values, valid)


def turns(positions: Tensor, head_dim: int) -> Tensor:
    """Cosine and sine of adjacent pairs, float32[b, s, head_dim / 2, 2], for positions[b, s]."""
    half = head_dim // 2
    exponent = torch.arange(half, device=positions.device, dtype=torch.float32) / half
    angle = positions[:, :, None].float() * ROPE_THETA**-exponent
    return torch.stack((angle.cos(), angle.sin()), -1)


def run(
    stack: Stack,
    x: Tensor,
    cache: Cache,
    start: int,
    turn: Tensor,
    norms: tuple[Modulation, ...] | None = None,
    *,
    cache_only: bool = False,
) -> Tensor:
    """Tokens x[b, s, e] at cache positions start .. start + s, attending to those and all before.

    Every token of x attends to every other (one block of mask.py). norms: pi0.5's, two per layer.
    cache_only: stop after the last layer's keys and values. Returns the output before the final
    norm.
    """
    end = start + x.shape[1]
    seen = None if cache.valid is None else cache.valid[:, None, None, :end]
    turn = turn.contiguous()
    for i, layer in enumerate(stack.layers):
        modulation = None if norms is None else norms[2 * i]
        y = layer.qkv(normed(x, modulation)).unflatten(-1, (-1, stack.head_dim))
        keys, values = cache.keys[i], cache.values[i]
        own = (keys[:, :, start:end], values[:, :, start:end])
        q = kernels.rotate_and_store(y, turn, *own, stack.kv_heads)
        after = layer.after
        if q is None or after is None or (cache_only and i == len(stack.layers) - 1):
            return x
        y = F.scaled_dot_product_attention(q, keys[:, :, :end], values[:, :, :end], attn_mask=seen)
        y = (
            y.unflatten(2, (end - start, -1)).transpose(1, 2).flatten(2).to(x.dtype)
        )  # (b, s, h * d)
        if norms is None:
            x = after.out.plus(y, x)
            x = after.down.plus(after.gated(normed(x)), x)
        else:
            x = torch.addcmul(x, after.out(y), norms[2 * i][2])
            y = after.down(after.gated(normed(x, norms[2 * i + 1])))
            x = torch.addcmul(x, y, norms[2 * i + 1][2])
    return x


def normed(x: Tensor, modulation: Modulation | None = None) -> Tensor:
    """x / rms(x), in float32; its gain is folded into the next product, or is in modulation."""
    return kernels.norm(x) if modulation is None else kernels.norm(x, *modulation[:2])
