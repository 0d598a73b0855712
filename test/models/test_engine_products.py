"""Products of the engine, packed, joined and in float8, and what stands between them, against torch's own."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from engine_models import EXACT

from vla_policy.models.engine.linear import Joined, can_pack, gated, packed, plain, scaled8

pytestmark = pytest.mark.usefixtures("seeded_inference")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biased", [False, True])
def test_packed_products_are_plain_products(dtype: torch.dtype, biased: bool) -> None:
    if not can_pack(dtype):
        pytest.skip(f"runs on a CPU with {dtype} products in oneDNN (AMX or AVX512-BF16)")
    weight, bias = torch.randn(48, 40) / 6, torch.randn(48) if biased else None
    ours, theirs = packed(dtype)(weight, bias), plain(dtype, torch.device("cpu"))(weight, bias)
    close = (
        {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.05, "rtol": 0.02}
    )
    for rows in (1, 5, 64):
        x, other = torch.randn(2, rows, 40, dtype=dtype), torch.randn(2, rows, 48, dtype=dtype)
        torch.testing.assert_close(ours(x), theirs(x), **close)
        torch.testing.assert_close(ours.gelu(x), theirs.gelu(x), **close)
        torch.testing.assert_close(ours.times(x, other), theirs.times(x, other), **close)
        torch.testing.assert_close(ours.plus(x, other), theirs.plus(x, other), **close)


def test_joined_gate_and_up_where_products_have_no_activation() -> None:
    gate, up, x = torch.randn(48, 40) / 6, torch.randn(48, 40) / 6, torch.randn(2, 5, 40)
    joined = gated(gate, up, plain(torch.float32, torch.device("cpu")))
    assert isinstance(joined, Joined)
    exact = F.gelu(F.linear(x, gate), approximate="tanh") * F.linear(x, up)
    torch.testing.assert_close(joined(x), exact, **EXACT)


KERNELS = """
import torch
from vla_policy.models.engine import kernels
assert kernels.FUSED
torch.manual_seed(0)
for b, s, heads, kv, d in ((2, 5, 6, 1, 16), (1, 3, 8, 2, 8), (2, 4, 2, 1, 16)):
    y, angle = torch.randn(b, s, heads, d), torch.rand(b, s, d // 2)
    turn = torch.stack((angle.cos(), angle.sin()), -1)
    results = []
    for fused in (True, False):
        kernels.FUSED = fused
        keys, values = torch.zeros(2, b, kv, s + 3, d)
        q = kernels.rotate_and_store(y, turn, keys[:, :, 2 : s + 2], values[:, :, 2 : s + 2], kv)
        results.append((keys, values, keys if q is None else q))
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs)
x = torch.randn(2, 5, 3000)
for gain in (torch.rand(1, 1, 3000), torch.rand(2, 1, 3000), torch.rand(2, 5, 3000)):
    results = []
    for kernels.FUSED in (True, False):
        results.append((kernels.gated_gelu(x), kernels.norm(x, gain, gain - 0.5)))
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs)
"""


@pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="runs where there is Triton (pip install triton)",
)
def test_triton_kernels_interpreted() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", KERNELS], env=environment, check=True)


def test_float8_products_keep_two_digits() -> None:
    weight, bias, x = torch.randn(48, 64) / 8, torch.randn(48), torch.randn(3, 5, 64)
    weight[7] *= 100  # one scale per output: its neighbours do not suffer
    exact = F.linear(x, weight, bias)
    error = (scaled8(torch.device("cpu"))(weight, bias)(x) - exact).abs().mean((0, 1))
    assert (error < 0.08 * exact.abs().mean((0, 1))).all()
