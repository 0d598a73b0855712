"""openpi's PyTorch folders of pi0 and pi0.5: model.safetensors and assets/<asset>/norm_stats.json.

Source: openpi (examples/convert_jax_model_to_pytorch.py, shared/normalize.py, transforms.py).
Normalisation: quantiles for pi0.5, mean and standard deviation for pi0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.formats.fit import Heads, PolicyFile
from vla_policy.formats.foreign.common import Feature, Foreign, assemble
from vla_policy.formats.tensors import pi0_names
from vla_policy.formats.tensors.store import open_store
from vla_policy.parsing.json_document import read_json, require

SLOTS = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")
ASSETS, NORM_STATS = "assets", "norm_stats.json"
MODES = {"pi0": "mean_std", "pi05": "quantiles"}
MAX_TEXT = {"pi0": 48, "pi05": 200}
STEPS, STATE_DIM, EPS = 10, 32, 1e-6


def load(
    folder: Path, file: PolicyFile, *, device: str, dtype: torch.dtype | None = None
) -> Checkpoint:
    """The checkpoint in folder with its policy file. Raises ValueError or FileNotFoundError."""
    foreign = read_folder(folder, heads=file.heads, asset=file.statistics, rows=file.rows)
    return assemble(foreign, file, device=device, dtype=dtype)


def read_folder(
    folder: Path, *, heads: Heads | None, asset: str | None, rows: int | None
) -> Foreign:
    """Everything but the weights' content.

    Raises ValueError for files that contradict each other.
    """
    store = open_store(folder)
    named = pi0_names.name_tensors(store, tied=True)
    kind = pi0_names.kind(named)
    if kind is None:
        raise ValueError(f"{folder}: the weights are neither of pi0 nor of pi0.5: no time_mlp")
    path = folder / "config.json"
    config = read_json(path) if path.is_file() else {}
    horizon = config.get("action_horizon", rows)
    if not isinstance(horizon, int):
        raise ValueError(
            f"{folder}: how many rows a chunk has is not in the weights; say `rows` in the policy file"
        )
    if rows is not None and rows != horizon:
        raise ValueError(f"{path}: action_horizon is {horizon}, the policy file says {rows} rows")
    found, stats = norm_stats(folder, asset)
    return Foreign(
        store=store,
        named=named,
        config=pi0_names.sizes(
            store, named, heads=heads, rows=horizon, steps=STEPS, max_text=MAX_TEXT[kind], state_dim=STATE_DIM
        ),
        state=_feature(stats, "state", MODES[kind], found),
        actions=_feature(stats, "actions", MODES[kind], found),
        slots=SLOTS,
        state_width=None,
        action_width=None,
        prompt_as_given=False,
        antialias=True,
    )  # fmt: skip


def assets(folder: Path) -> dict[str, Path]:
    """Asset id -> its norm_stats.json."""
    root = folder / ASSETS
    return {
        str(p.parent.relative_to(root)): p for p in sorted(root.rglob(NORM_STATS)) if p.parent != root
    }  # fmt: skip


def columns(folder: Path) -> tuple[tuple[str, ...], int, int]:
    """Camera names, and widths of state and actions; 0 without exactly one set of statistics."""
    if len(assets(folder)) != 1:
        return SLOTS, 0, 0
    path, stats = norm_stats(folder, None)
    features = (_feature(stats, name, "mean_std", path) for name in ("state", "actions"))
    state, actions = (len(f.statistics.get("mean", ())) for f in features)
    return SLOTS, state, actions


def norm_stats(folder: Path, asset: str | None) -> tuple[Path, dict[str, Any]]:
    """The statistics of asset, or the only ones.

    Raises ValueError unless that is exactly one set.
    """
    found = assets(folder)
    if not found:
        raise ValueError(f"{folder}: no statistics: there is no {ASSETS}/<asset>/{NORM_STATS}")
    if asset is None and len(found) > 1:
        raise ValueError(
            f"{folder}: statistics of {', '.join(found)}; say which as `statistics` in the policy file"
        )
    if asset is not None and asset not in found:
        raise ValueError(f"{folder}: no statistics of {asset!r}; there are {', '.join(found)}")
    path = found[asset] if asset is not None else next(iter(found.values()))
    data = read_json(path)
    return path, require(data, "norm_stats", dict, path)


def _feature(stats: dict[str, Any], name: str, mode: str, path: Path) -> Feature:
    if name not in stats:
        raise ValueError(
            f"{path}: no statistics of {name!r}; there are {', '.join(stats) or 'none'}"
        )
    values = {}
    for key, numbers in stats[name].items():
        if numbers is None:
            continue
        try:
            values[key] = np.array(numbers, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {name}.{key}: got {numbers!r}, expected numbers") from error
    return Feature(mode, values, EPS, EPS, f"{path}: {name}")
