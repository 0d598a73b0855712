"""Precision and threads for this machine: from the processor's features, then measured."""

import os
import time
from collections.abc import Callable

import torch

from vla_policy.models.engine.linear import can_pack, packed

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Below this many parameters a chunk is fast in float32 as well, and stays exact.
LARGE = 50_000_000
GAIN = 1.3


def precision(
    wanted: str, *, own: torch.dtype, parameters: int, device: torch.device
) -> torch.dtype:
    """The dtype to work in: wanted, or for "auto" the model's own unless bfloat16 is clearly faster here.

    "auto" leaves float32 only for a large model, on a GPU or on a CPU whose bfloat16 products measure at least
    1.3 times as fast. Raises ValueError for an unknown name.
    """
    if wanted in PRECISIONS:
        return PRECISIONS[wanted]
    if wanted != "auto":
        raise ValueError(f"precision: got {wanted!r}, expected auto, {', '.join(PRECISIONS)}")
    if own != torch.float32 or parameters < LARGE:
        return own
    if device.type != "cpu":
        return torch.bfloat16
    return torch.bfloat16 if bfloat16_gain() >= GAIN else torch.float32


def attention(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype of keys, values and scores: dtype, but float32 on a CPU without tiles (AMX).

    There torch's attention is slower in bfloat16 than in float32, and the rotated queries and keys are float32.
    """
    if device.type == "cpu" and not torch.cpu._is_amx_tile_supported():
        return torch.float32
    return dtype


def bfloat16_gain() -> float:
    """How many times faster this CPU multiplies in bfloat16 than in float32; 0 if it cannot."""
    if not can_pack(torch.bfloat16):
        return 0.0
    return product_seconds(torch.float32) / product_seconds(torch.bfloat16)


def threads() -> int:
    """The thread count at which this process multiplies fastest, among 1, 2, 4 .. its cores.

    Changes nothing: pass it to torch.set_num_threads. Takes a fraction of a second; other running
    programs affect the result.
    """
    before = torch.get_num_threads()
    affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
    counts = sorted({cores, *(1 << i for i in range(8) if 1 << i <= cores)})

    def seconds(count: int) -> float:
        torch.set_num_threads(count)
        return product_seconds(torch.float32)

    try:
        return min(counts, key=seconds)
    finally:
        torch.set_num_threads(before)


def product_seconds(dtype: torch.dtype, rows: int = 256, width: int = 1024) -> float:
    """Least of five times of one packed product x[rows, width] W[width, width], seconds."""
    x = torch.zeros(rows, width, dtype=dtype)
    product = packed(dtype)(torch.zeros(width, width), None)
    return min(_seconds(lambda: product(x)) for _ in range(6))


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
