"""openpi's messages: msgpack with numeric arrays. Nothing else is accepted.

An array is a mapping {__ndarray__: true, data: bytes, dtype: '<f4', shape: [2, 3]}, a number of numpy
{__npgeneric__: true, data: 1.5, dtype: '<f4'}; their keys may be bytes, as openpi writes them, or
text. Objects, pickles and extension types are refused. A message is measured before any object is
created, so that a small one cannot use much memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from vla_policy.parsing.files import one_line
from vla_policy.types import Array

ARRAY, SCALAR = "__ndarray__", "__npgeneric__"
DTYPES = frozenset(
    {"|b1", "|u1", "|i1"} | {f"{o}{k}" for o in "<>" for k in ("u2", "i2", "u4", "i4", "u8", "i8")}
    | {f"{o}{k}" for o in "<>" for k in ("f2", "f4", "f8")}
)  # fmt: skip
MAX_DIMENSIONS, MAX_SIDE = 6, 2**31
# First byte -> bytes of the value that follow it.
FIXED = {
    0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8,
    0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
}  # fmt: skip
# First byte -> bytes of the length that follows it: of bytes and texts, lists, mappings.
SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
LISTS, MAPPINGS = {0xDC: 2, 0xDD: 4}, {0xDE: 2, 0xDF: 4}


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """Limits of one message. size: bytes. items: values and keys in total, however nested."""

    size: int = 16 * 1024 * 1024
    depth: int = 8
    items: int = 4096


DEFAULT_LIMITS = MessageLimits()


def encode(value: Any) -> bytes:
    """A message. Raises ValueError for values of other types."""
    try:
        packed: bytes = msgpack.packb(value, default=_plain)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"message: cannot be written: {error}") from error
    return packed


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and value.dtype.str not in DTYPES:
        raise ValueError(f"an array of {value.dtype}, expected numbers")
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value)
        return {
            ARRAY.encode(): True,
            b"data": data.reshape(-1).view(np.uint8).data if data.size else b"",
            b"dtype": data.dtype.str,
            b"shape": value.shape,
        }
    if isinstance(value, np.generic):
        return {SCALAR.encode(): True, b"data": value.item(), b"dtype": value.dtype.str}
    if isinstance(value, Mapping):
        return dict(value)
    raise ValueError(f"a {type(value).__name__}, expected numbers, text, bytes, lists, mappings")


def decode(data: bytes, limits: MessageLimits = DEFAULT_LIMITS) -> Any:
    """The value in a message; arrays are read-only views of it.

    Raises ValueError, one sentence, for any other data: too large, too deep, truncated, with
    extension types, non-numeric arrays, wrong sizes, or numbers that are not finite.
    """
    measure(data, limits)
    try:
        value = msgpack.unpackb(
            data, raw=False, strict_map_key=False, object_pairs_hook=_mapping,
            max_bin_len=limits.size, max_str_len=limits.size, max_ext_len=0,
        )  # fmt: skip
    except UnicodeDecodeError as error:
        raise ValueError("message: a text in it is not UTF-8") from error
    except msgpack.exceptions.UnpackException as error:
        raise ValueError(f"message: not msgpack: {type(error).__name__}") from error
    _require_finite(value)
    return value


def measure(data: bytes, limits: MessageLimits = DEFAULT_LIMITS) -> int:
    """Number of values in a message, without creating any. Raises ValueError as decode."""
    if not len(data) <= limits.size:
        raise ValueError(f"message: got {len(data)} bytes, expected at most {limits.size}")
    at, seen, left = 0, 0, [1]  # left: values still to come, for each open list or mapping
    while left:
        if left[-1] == 0:
            left.pop()
            continue
        left[-1] -= 1
        seen += 1
        if at >= len(data):
            raise _cut_off(len(data))
        first = data[at]
        at += 1
        inside = 0
        if first <= 0x7F or first >= 0xE0:
            continue
        if first <= 0x8F:
            inside = 2 * (first & 0x0F)
        elif first <= 0x9F:
            inside = first & 0x0F
        elif first <= 0xBF:
            at += first & 0x1F
        elif first in FIXED:
            at += FIXED[first]
        else:
            width = SIZED.get(first) or LISTS.get(first) or MAPPINGS.get(first)
            if width is None:
                raise ValueError(f"message: type 0x{first:02x} at byte {at - 1} is refused")
            if at + width > len(data):
                raise _cut_off(len(data))
            count = int.from_bytes(data[at : at + width], "big")
            at += width
            if first in SIZED:
                at += count
            else:
                inside = 2 * count if first in MAPPINGS else count
        if inside:
            left.append(inside)
            if len(left) - 1 > limits.depth:
                raise ValueError(f"message: nested deeper than {limits.depth} levels")
            if seen + inside > limits.items:
                raise ValueError(
                    f"message: got {seen + inside} values or more, expected at most {limits.items}"
                )
    if at > len(data):
        raise _cut_off(len(data))
    if at < len(data):
        raise ValueError(f"message: ends at byte {at}, got {len(data)} bytes")
    return seen


def _cut_off(size: int) -> ValueError:
    return ValueError(f"message: cut off after {size} bytes")


def _mapping(pairs: list[tuple[Any, Any]]) -> Any:
    """A mapping with text keys, an array or a number."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        name = key.decode("utf-8") if isinstance(key, bytes) else key
        if not isinstance(name, str):
            raise ValueError(f"message: a key is {type(key).__name__}, expected a text")
        if name in found:
            raise ValueError(f"message: the key {name[:80]!r} is there twice")
        found[name] = value
    if ARRAY in found:
        return array_of(found.get("data"), found.get("dtype"), found.get("shape"))
    return _scalar(found) if SCALAR in found else found


def _dtype(name: Any) -> np.dtype[Any]:
    if isinstance(name, bytes):
        name = name.decode("ascii", "replace")
    if not isinstance(name, str) or name not in DTYPES:
        raise ValueError(
            f"array: got dtype {one_line(repr(name), 40)}, expected one of {', '.join(sorted(DTYPES))}"
        )
    return np.dtype(name)


def array_of(data: Any, dtype_name: Any, shape: Any) -> Array:
    """A read-only view of data. Raises ValueError for a wrong type or size, or not finite."""
    dtype = _dtype(dtype_name)
    if not isinstance(data, bytes):
        raise ValueError(f"array: got data of {type(data).__name__}, expected bytes")
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMENSIONS
        or not all(type(n) is int and 0 <= n <= MAX_SIDE for n in shape)
    ):
        raise ValueError(
            f"array: got shape {one_line(repr(shape), 80)}, expected at most {MAX_DIMENSIONS} sizes"
        )
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(
            f"array: got {len(data)} bytes, expected {math.prod(shape) * dtype.itemsize} "
            f"for {dtype.str}{shape}"
        )
    array = np.frombuffer(data, dtype).reshape(shape)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"array: {dtype.str}{shape} has numbers that are not finite")
    return array


def _scalar(found: Mapping[str, Any]) -> Any:
    dtype, value = _dtype(found.get("dtype")), found.get("data")
    if not isinstance(value, bool | int | float):
        raise ValueError(f"number: got {type(value).__name__}, expected a number")
    try:
        with np.errstate(over="ignore"):  # becomes infinite, which is refused
            return dtype.type(value).item()
    except (OverflowError, ValueError) as error:
        raise ValueError(f"number: got {one_line(repr(value), 40)} as {dtype.str}") from error


def _require_finite(value: Any) -> None:
    """Raises ValueError if a number outside arrays is not finite; arrays are checked earlier."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError("message: has a number that is not finite")
        if isinstance(item, dict):
            todo += item.values()
        elif isinstance(item, list):
            todo += item
