"""Data sets as folders of shards: plain .npy arrays that can be memory-mapped, and one JSON.

    DIR/shard_00000/front.npy ... texts.json meta.json
A shard gets its name only when it is complete, so a stopped run is resumed by shard.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from vla_policy.parsing.files import MIB, one_line, read_bytes, require_file
from vla_policy.parsing.strict_json import parse_json

PARTIAL = ".partial"  # suffix of a shard that is being written
TEXTS_FILE, META_FILE = "texts.json", "meta.json"
MAX_ARRAYS = 64  # of a shard
TEXTS = 256 * MIB


def shard_path(folder: Path, index: int) -> Path:
    """The path of shard number index of a data set."""
    return Path(folder) / f"shard_{index:05d}"


def array_file(name: str) -> str:
    """The file of an array in its shard."""
    return f"{name}.npy"


def shards_below(root: Path, having: str) -> list[Path]:
    """The complete shards below root that have a file of that name, in order."""
    return sorted(p.parent for p in root.glob(f"**/{having}") if p.parent.suffix != PARTIAL)


def write_shard(
    path: Path, arrays: Mapping[str, np.ndarray], texts: list[list[str]], meta: Mapping[str, Any]
) -> None:
    """Write one shard completely or not at all.

    arrays: name -> array, all with the same first length.  texts: one list per row.
    """
    lengths = {name: len(array) for name, array in arrays.items()} | {"texts": len(texts)}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"{path}: arrays of one shard differ in length: {lengths}")
    partial = path.with_name(path.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(partial / array_file(name), array, allow_pickle=False)
    (partial / TEXTS_FILE).write_text(json.dumps(texts))
    (partial / META_FILE).write_text(json.dumps(dict(meta), indent=1, sort_keys=True))
    os.replace(partial, path)


def read_shard(path: Path) -> tuple[dict[str, np.ndarray], list[list[str]]]:
    """(arrays memory-mapped read-only, texts) of one shard."""
    files = sorted(path.glob("*.npy"))
    if len(files) > MAX_ARRAYS:
        raise ValueError(f"{path}: got {len(files)} arrays, expected at most {MAX_ARRAYS}")
    arrays = {file.stem: read_array(file, mapped=True) for file in files}
    return arrays, read_texts(path / TEXTS_FILE)


def read_array(path: Path, *, mapped: bool = False) -> np.ndarray:
    """The array in a .npy file, read-only if mapped.

    Raises FileNotFoundError, or ValueError if invalid.
    """
    require_file(path)
    try:
        # Always mapped: only then is the stated size compared with the file's.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return array if mapped else np.array(array)
    except (
        ValueError,
        EOFError,
        OSError,
        TypeError,
        KeyError,
        SyntaxError,
        OverflowError,
    ) as error:
        raise ValueError(f"{path}: not a readable array: {one_line(error)}") from error


def read_texts(path: Path) -> list[list[str]]:
    """The texts of a shard, a list for each row. Raises FileNotFoundError or ValueError."""
    rows = parse_json(read_bytes(path, TEXTS), path)
    if not isinstance(rows, list) or not all(map(_are_texts, rows)):
        raise ValueError(f"{path}: got something else, expected a list of texts for each row")
    return rows


def _are_texts(row: object) -> TypeGuard[list[str]]:
    return isinstance(row, list) and all(isinstance(text, str) for text in row)


def read_meta(path: Path) -> dict[str, Any]:
    """A shard's metadata. Raises FileNotFoundError or ValueError."""
    meta = parse_json(read_bytes(path), path)
    if not isinstance(meta, dict):
        raise ValueError(f"{path}: got {type(meta).__name__}, expected a JSON object")
    return meta
