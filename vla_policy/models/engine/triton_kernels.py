"""The operations between products as Triton kernels.

Imported only by kernels.py, if Triton runs.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


def rotate_and_store(
    y: Tensor, turn: Tensor, q: Tensor, keys: Tensor, values: Tensor, kv_heads: int
) -> None:
    """y[b, s, heads, d], pairs adjacent: queries, keys rotated into q, keys; values copied.

    turn: float32[b, s, d / 2, 2], cosine and sine. q: [b, kv_heads, s * group, d]; keys, values: [b, kv_heads, s, d].
    """
    b, s, heads, d = y.shape
    if values.stride() != keys.stride() or keys.stride(3) != 1:
        raise ValueError(f"cache: got strides {keys.stride()} and {values.stride()}")
    _rotate_and_store[(b * s, heads)](
        y.contiguous(), turn, q, keys, values, s, heads - 2 * kv_heads, kv_heads,
        keys.stride(0), keys.stride(1), keys.stride(2), HALF=d // 2,
    )  # fmt: skip


def gated_gelu(y: Tensor) -> Tensor:
    """gelu(first half) * second half of y[..., 2 m], tanh form, in float32."""
    half = y.shape[-1] // 2
    out = y.new_empty((*y.shape[:-1], half))
    rows = out.numel() // half
    block = min(1024, triton.next_power_of_2(half))
    _gated_gelu[(rows, triton.cdiv(half, block))](y.contiguous(), out, half, BLOCK=block)
    return out


def modulated_norm(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """x / rms(x) * gain + shift, in float32; gain and shift: one row for all, for each observation or each token."""
    width = x.shape[-1]
    out, rows = torch.empty_like(x), x.numel() // width
    each = rows // (gain.numel() // width)
    _modulated_norm[(rows,)](
        x.contiguous(), gain.contiguous(), shift.contiguous(), out, width, each, eps,
        BLOCK=triton.next_power_of_2(width),
    )  # fmt: skip
    return out


@triton.jit
def _rotate_and_store(
    y, turn, q, keys, values, s, heads, kv, stride_b, stride_h, stride_s, HALF: tl.constexpr
):
    token, head = tl.program_id(0), tl.program_id(1)
    batch, place = token // s, token % s
    i = tl.arange(0, HALF)
    row = (token * (heads + 2 * kv) + head) * 2 * HALF
    a = tl.load(y + row + 2 * i).to(tl.float32)
    b = tl.load(y + row + 2 * i + 1).to(tl.float32)
    cos = tl.load(turn + token * 2 * HALF + 2 * i)
    sin = tl.load(turn + token * 2 * HALF + 2 * i + 1)
    first, second = a * cos - b * sin, b * cos + a * sin
    if head < heads:
        group = heads // kv
        at = ((batch * kv + head // group) * s + place) * group + head % group
        tl.store(q + at * 2 * HALF + 2 * i, first.to(q.dtype.element_ty))
        tl.store(q + at * 2 * HALF + 2 * i + 1, second.to(q.dtype.element_ty))
    elif head < heads + kv:
        at = batch * stride_b + (head - heads) * stride_h + place * stride_s
        tl.store(keys + at + 2 * i, first.to(keys.dtype.element_ty))
        tl.store(keys + at + 2 * i + 1, second.to(keys.dtype.element_ty))
    else:
        at = batch * stride_b + (head - heads - kv) * stride_h + place * stride_s
        tl.store(values + at + 2 * i, a.to(values.dtype.element_ty))
        tl.store(values + at + 2 * i + 1, b.to(values.dtype.element_ty))


@triton.jit
def _gated_gelu(y, out, half, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < half
    gate = tl.load(y + row * 2 * half + i, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(y + row * 2 * half + half + i, mask=inside, other=0.0).to(tl.float32)
    z = 0.7978845608028654 * (gate + 0.044715 * gate * gate * gate)
    tanh = 1.0 - 2.0 / (tl.exp(2.0 * z) + 1.0)
    value = 0.5 * gate * (1.0 + tanh) * up
    tl.store(out + row * half + i, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _modulated_norm(x, gain, shift, out, width, each, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    inside = i < width
    value = tl.load(x + row * width + i, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(value * value, axis=0) / width + eps)
    at = (row // each) * width + i
    value = value * scale * tl.load(gain + at, mask=inside, other=0.0)
    value += tl.load(shift + at, mask=inside, other=0.0)
    tl.store(out + row * width + i, value.to(out.dtype.element_ty), mask=inside)
