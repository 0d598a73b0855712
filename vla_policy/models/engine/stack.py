"""Running a folded Gemma stack over one static cache: tokens write their keys and values in place and look back."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..gemma import EPS, ROPE_THETA
from .fold import Modulation, Stack


@dataclass(frozen=True, slots=True)
class Cache:
    """Room for keys and values of all layers, written once per observation and then over and over by the suffix.

    keys, values: [layer, b, kv_heads, s, head_dim]. valid: bool[b, s], or None where every token is there.
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
    """Rotations e^(i angle) of neighbouring pairs, complex64[b, s, 1, head_dim / 2], for positions[b, s]."""
    half = head_dim // 2
    exponent = torch.arange(half, device=positions.device, dtype=torch.float32) / half
    angle = positions[:, :, None, None].float() * ROPE_THETA**-exponent
    return torch.polar(torch.ones_like(angle), angle)


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
    """Tokens x[b, s, e] at cache places start .. start + s, which see those places and all before them.

    Every token of x sees every other (one block of mask.py). norms: pi0.5's, two for each layer. cache_only: stop
    when the last layer's keys and values are there. Returns the stack's output before its final norm.
    """
    end = start + x.shape[1]
    seen = None if cache.valid is None else cache.valid[:, None, None, :end]
    for i, layer in enumerate(stack.layers):
        y = layer.qkv(normed(x, norms and norms[2 * i]))
        keys, values = cache.keys[i], cache.values[i]
        q = _split_and_store(stack, y, turn, keys[:, :, start:end], values[:, :, start:end])
        if layer.out is None or (cache_only and i == len(stack.layers) - 1):
            return x
        y = F.scaled_dot_product_attention(q, keys[:, :, :end], values[:, :, :end], attn_mask=seen)
        y = (
            y.unflatten(2, (end - start, -1)).transpose(1, 2).flatten(2).to(x.dtype)
        )  # (b, s, h * d)
        if norms is None:
            x = layer.out.plus(y, x)
            y = normed(x)
            x = layer.down.plus(layer.up.times(y, layer.gate.gelu(y)), x)
        else:
            x = torch.addcmul(x, layer.out(y), norms[2 * i][2])
            y = normed(x, norms[2 * i + 1])
            y = layer.down(layer.up.times(y, layer.gate.gelu(y)))
            x = torch.addcmul(x, y, norms[2 * i + 1][2])
    return x


def normed(x: Tensor, modulation: Modulation | None = None) -> Tensor:
    """x / rms(x), in float32; its gain stands in the next product, or comes with modulation."""
    if modulation is None:
        return F.rms_norm(x, x.shape[-1:], eps=EPS)
    gain, shift, _ = modulation
    return torch.addcmul(shift, F.rms_norm(x.float(), x.shape[-1:], eps=EPS), gain).to(x.dtype)


def _split_and_store(
    stack: Stack, y: Tensor, turn: Tensor, keys: Tensor, values: Tensor
) -> Tensor | None:
    """Rotated keys and values into the cache; rotated queries [b, kv_heads, s * group, head_dim], if y has any."""
    heads = y.unflatten(-1, (-1, stack.head_dim))  # (b, s, h, d)
    kv = stack.kv_heads
    rotated = _rotate(heads[:, :, :-kv], turn).to(keys.dtype)
    keys.copy_(rotated[:, :, -kv:].transpose(1, 2))
    values.copy_(heads[:, :, -kv:].transpose(1, 2))
    if heads.shape[2] == 2 * kv:
        return None
    # The queries of one key head side by side: with a single key head there is nothing to repeat or to move.
    q = rotated[:, :, :-kv].unflatten(2, (kv, -1))  # (b, s, kv, g, d)
    return q.transpose(1, 2).flatten(2, 3)


def _rotate(x: Tensor, turn: Tensor) -> Tensor:
    pairs = x.float().unflatten(-1, (-1, 2))
    if x.is_cuda:  # real arithmetic is what a compiler can fuse
        cos, sin = turn.real, turn.imag
        a, b = pairs.unbind(-1)
        rotated = torch.stack((a * cos - b * sin, b * cos + a * sin), -1)
    else:
        rotated = torch.view_as_real(torch.view_as_complex(pairs) * turn)
    return rotated.flatten(-2)
