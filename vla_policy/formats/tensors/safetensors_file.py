"""Safetensors files read and written tensor by tensor, so that no weight is in memory twice.

The format (github.com/huggingface/safetensors): 8 bytes length, a JSON header name -> dtype,
shape, offsets, then the tensors end to end. Files are read with plain reads into the final memory:
mapped pages would count as memory of the process in addition to the model's.
"""

import json
import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vla_policy.parsing.files import MIB, one_line, require_file
from vla_policy.parsing.strict_json import parse_json

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MAX_HEADER = 8 * MIB  # 50,000 tensors; read at once
MAX_AXES = 16
CHUNK_BYTES = 1 << 23


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor in a file. start, stop: bytes from the beginning of the file."""

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(path: Path) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    """Entries and metadata of a safetensors file. Raises ValueError naming the fault."""
    try:
        size = require_file(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no weights at {path}") from error
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise ValueError(
                f"{path}: not a readable safetensors file: its header is said to have {length} bytes, "
                f"the file has {size}"
            )
        header = parse_json(file.read(length), f"{path}: not a readable safetensors file")
    if not isinstance(header, dict):
        raise ValueError(f"{path}: not a readable safetensors file: its header is not a mapping")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError(
            f"{path}: __metadata__: got {one_line(repr(metadata), 80)}, expected texts"
        )
    entries = {name: _entry(path, name, fields, 8 + length) for name, fields in header.items()}
    _require_end_to_end(path, entries, 8 + length)
    end = max((e.stop for e in entries.values()), default=8 + length)
    if end != size:
        raise ValueError(
            f"{path}: the file is {'cut off' if end > size else 'longer than its header says'}: "
            f"got {size} bytes, expected {end}"
        )
    return entries, metadata


def read(entry: TensorEntry) -> torch.Tensor:
    """The tensor, in its own dtype, on the CPU."""
    out = torch.empty(entry.shape, dtype=entry.dtype)
    read_into(entry, out)
    return out


def read_into(entry: TensorEntry, out: torch.Tensor) -> bool:
    """Fill out (same shape, any dtype and device, contiguous) from the file, chunk by chunk.

    Returns whether all values are finite.
    """
    flat = out.view(-1)
    width, finite = entry.dtype.itemsize, True
    step = max(CHUNK_BYTES // width, 1)
    direct = out.device.type == "cpu" and out.dtype == entry.dtype
    staging = None if direct else torch.empty(min(step, out.numel()), dtype=entry.dtype)
    with entry.path.open("rb", buffering=0) as file:
        for first in range(0, out.numel(), step):
            count = min(step, out.numel() - first)
            target = flat[first : first + count] if staging is None else staging[:count]
            _read_bytes(file.fileno(), entry, entry.start + first * width, target)
            if target.is_floating_point() and target.dtype.itemsize > 1:
                finite = finite and bool(torch.isfinite(target).all())
            if staging is not None:
                flat[first : first + count].copy_(target)
    return finite


def chunks(entry: TensorEntry) -> Iterator[bytes]:
    """The bytes of the tensor in the file, a few megabytes at a time."""
    with entry.path.open("rb") as file:
        file.seek(entry.start)
        left = entry.stop - entry.start
        while left:
            data = file.read(min(CHUNK_BYTES, left))
            if not data:
                raise ValueError(f"{entry.path}: the file ended while it was read")
            left -= len(data)
            yield data


def write(
    path: Path,
    tensors: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
    data: Iterable[Iterable[bytes]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file, one tensor after another.

    tensors: name -> dtype and shape, in the order in which data yields their bytes.
    Raises ValueError if a tensor has more or fewer bytes than its shape requires.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for name, (dtype, shape) in tensors.items():
        size = dtype.itemsize * math.prod(shape)
        header[name] = {
            "dtype": NAMES[dtype],
            "shape": list(shape),
            "data_offsets": [place, place + size],
        }
        place += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, pieces in zip(tensors, data, strict=True):
            begin, end = header[name]["data_offsets"]
            written = sum(file.write(piece) for piece in pieces)
            if written != end - begin:
                raise ValueError(f"{path}: {name}: got {written} bytes, expected {end - begin}")
    part.replace(path)


def tensor_bytes(tensor: torch.Tensor) -> Iterator[bytes]:
    """The bytes of a tensor in memory, a few megabytes at a time."""
    flat = tensor.detach().contiguous().cpu().view(-1)
    step = max(CHUNK_BYTES // flat.dtype.itemsize, 1)
    for first in range(0, flat.numel(), step):
        yield flat[first : first + step].view(torch.uint8).numpy().tobytes()


def _entry(path: Path, name: str, fields: Any, data_start: int) -> TensorEntry:
    given = fields if isinstance(fields, dict) else {}
    kind = given.get("dtype")
    shape = _counts(given.get("shape"), MAX_AXES)
    offsets = _counts(given.get("data_offsets"), 2)
    if (
        not (isinstance(kind, str) and kind in DTYPES)
        or shape is None
        or offsets is None
        or len(offsets) != 2
    ):
        raise ValueError(
            f"{path}: {one_line(name, 80)}: not a readable tensor: got {one_line(repr(fields), 120)}, "
            "expected dtype, shape and data_offsets"
        )
    dtype, (begin, end) = DTYPES[kind], offsets
    if end - begin != dtype.itemsize * math.prod(shape):
        raise ValueError(
            f"{path}: {one_line(name, 80)}: got bytes {begin}..{end}, "
            f"expected {dtype.itemsize * math.prod(shape)} for {kind} {list(shape)}"
        )
    return TensorEntry(path, dtype, shape, data_start + begin, data_start + end)


def _counts(values: Any, most: int) -> tuple[int, ...] | None:
    """values, if they are a list of counts of at most most; else None."""
    if not isinstance(values, list) or len(values) > most:
        return None
    return tuple(values) if all(type(n) is int and 0 <= n < 1 << 48 for n in values) else None


def _require_end_to_end(path: Path, entries: Mapping[str, TensorEntry], start: int) -> None:
    """Raises ValueError for overlapping tensors: a small file could fill a large memory."""
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != start:
            raise ValueError(
                f"{path}: {one_line(name, 80)}: got the place {entry.start}, expected {start}: "
                "tensors lie end to end"
            )
        start = entry.stop


def _read_bytes(descriptor: int, entry: TensorEntry, start: int, target: torch.Tensor) -> None:
    view = memoryview(target.view(torch.uint8).numpy()).cast("B")
    while len(view):
        got = os.preadv(descriptor, [view], start)
        if got == 0:
            raise ValueError(f"{entry.path}: the file ended while it was read")
        start, view = start + got, view[got:]
