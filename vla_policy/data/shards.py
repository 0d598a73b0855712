"""Data sets as folders of shards: plain .npy arrays that can be memory-mapped, and one JSON.

    DIR/shard_00000/front.npy ... texts.json meta.json
A shard appears under its name only when it is complete, so a stopped run is resumed by shard.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def shard_path(folder: Path, index: int) -> Path:
    """Where shard number index of a data set lies."""
    return Path(folder) / f"shard_{index:05d}"


def write_shard(
    path: Path, arrays: Mapping[str, np.ndarray], texts: list[list[str]], meta: Mapping[str, Any]
) -> None:
    """Write one shard completely or not at all.

    arrays: name -> array, all with the same first length.  texts: one list per row.
    """
    lengths = {name: len(array) for name, array in arrays.items()} | {"texts": len(texts)}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"{path}: arrays of one shard differ in length: {lengths}")
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(partial / f"{name}.npy", array, allow_pickle=False)
    (partial / "texts.json").write_text(json.dumps(texts))
    (partial / "meta.json").write_text(json.dumps(dict(meta), indent=1, sort_keys=True))
    os.replace(partial, path)


def list_shards(folder: Path) -> list[Path]:
    """Complete shards of a data set, in order. Raises ValueError when there is none."""
    found = sorted(p for p in Path(folder).glob("shard_*") if not p.name.endswith(".partial"))
    if not found:
        raise ValueError(f"{folder}: no shards; make them with 'vla generate'")
    return found


def read_shard(path: Path) -> tuple[dict[str, np.ndarray], list[list[str]]]:
    """(arrays memory-mapped read-only, texts) of one shard."""
    arrays = {
        file.stem: np.load(file, mmap_mode="r", allow_pickle=False)
        for file in sorted(path.glob("*.npy"))
    }
    return arrays, json.loads((path / "texts.json").read_text())
