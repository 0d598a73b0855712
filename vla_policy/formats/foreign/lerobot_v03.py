"""lerobot folders of 0.3 and older, without processor files: statistics are tensors.

    normalize_inputs.buffer_observation_state.mean    unnormalize_outputs.buffer_action.std    ...

A statistic that was never set is infinite. Images were padded into the lower right corner.
Source: lerobot 0.3.3 (policies/normalize.py, policies/pi0).
"""

from __future__ import annotations

import re
from dataclasses import replace

from vla_policy.formats.foreign.common import Feature
from vla_policy.formats.tensors.safetensors_file import TensorEntry, read
from vla_policy.formats.tensors.store import Store

BUFFER = re.compile(
    r"(normalize_inputs|normalize_targets|unnormalize_outputs)\.buffer_(\w+)\.(\w+)"
)
EPS = 1e-8


def split(store: Store) -> tuple[Store, dict[str, TensorEntry]]:
    """The weights alone, and the tensors that are statistics."""
    buffers = {name: e for name, e in store.entries.items() if BUFFER.fullmatch(name)}
    weights = {name: e for name, e in store.entries.items() if name not in buffers}
    return replace(store, entries=weights), buffers


def feature(
    buffers: dict[str, TensorEntry], owner: str, name: str, mode: str, where: str
) -> Feature:
    """Statistics of feature name ("observation.state").

    Raises ValueError listing the available ones.
    """
    stem = f"{owner}.buffer_{name.replace('.', '_')}."
    values = {
        key[len(stem) :]: read(entry).double().numpy()
        for key, entry in buffers.items()
        if key.startswith(stem)
    }
    if not values and mode != "identity":
        others = sorted({key.rpartition(".")[0] for key in buffers})
        raise ValueError(
            f"{where}: no statistics of {name!r} under {stem}*; there are {', '.join(others) or 'none'}"
        )
    eps = EPS if mode == "mean_std" else 0.0
    return Feature(mode, values, eps, 0.0, f"{where}: {name}")
