"""The operations between products: one Triton launch each on a GPU, torch operations elsewhere.

TRITON_INTERPRET=1 runs the kernels on a CPU, slowly: for their test.
"""

import importlib.util
import os

import torch
import torch.nn.functional as F
from torch import Tensor

from vla_policy.models.gemma import EPS

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
FUSED = importlib.util.find_spec("triton") is not None and (
    INTERPRETED or torch.cuda.is_available()
)
if FUSED:
    from vla_policy.models.engine import triton_kernels


def rotate_and_store(
    y: Tensor, turn: Tensor, keys: Tensor, values: Tensor, kv_heads: int
) -> Tensor | None:
    """Rotated keys and values of y[b, s, heads, d] into the cache; rotated queries, if y has any.

    turn: float32[b, s, d / 2, 2], cosine and sine of adjacent pairs. keys, values:
    [b, kv_heads, s, d].
    Returns [b, kv_heads, s * group, d]: the queries of one key head side by side, so that with a
    single key head nothing needs to be repeated or moved.
    """
    b, s, heads, d = y.shape
    group = heads // kv_heads - 2
    if _fused(y) and d & (d - 1) == 0:
        q = y.new_empty((b, kv_heads, s * group, d), dtype=keys.dtype)
        triton_kernels.rotate_and_store(y, turn, q, keys, values, kv_heads)
        return q if group else None
    pairs = y[:, :, :-kv_heads].float().unflatten(-1, (-1, 2))
    turned = torch.view_as_complex(pairs) * torch.view_as_complex(turn)[:, :, None]
    rotated = torch.view_as_real(turned).flatten(-2).to(keys.dtype)
    keys.copy_(rotated[:, :, -kv_heads:].transpose(1, 2))
    values.copy_(y[:, :, -kv_heads:].transpose(1, 2))
    if not group:
        return None
    queries: Tensor = rotated[:, :, :-kv_heads].unflatten(2, (kv_heads, -1)).transpose(1, 2)
    return queries.flatten(2, 3)


def gated_gelu(y: Tensor) -> Tensor:
    """gelu(first half) * second half of y[..., 2 m]."""
    if _fused(y):
        return triton_kernels.gated_gelu(y)
    gate, up = y.chunk(2, dim=-1)
    return F.gelu(gate, approximate="tanh") * up


def norm(x: Tensor, gain: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """x / rms(x), in float32; with gain and shift (both or neither) x / rms(x) * gain + shift."""
    if gain is None or shift is None:
        return F.rms_norm(x, x.shape[-1:], eps=EPS)
    if _fused(x):
        return triton_kernels.modulated_norm(x, gain, shift, EPS)
    return torch.addcmul(shift, F.rms_norm(x.float(), x.shape[-1:], eps=EPS), gain).to(x.dtype)


def _fused(x: Tensor) -> bool:
    return FUSED and (x.is_cuda or INTERPRETED)
