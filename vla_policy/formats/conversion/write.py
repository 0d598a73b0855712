"""Write a portable pi0 or pi0.5 as a folder of one of three kinds, every tensor bit for bit, one at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vla_policy.formats.conversion.portable import (
    SOURCE,
    UNREAD_FILE,
    Portable,
    require_complete,
    stored,
    tied_expert_head,
)
from vla_policy.formats.foreign import lerobot, openpi
from vla_policy.formats.foreign.lerobot_config import POSTPROCESSOR, PREPROCESSOR
from vla_policy.formats.native import folder as vla
from vla_policy.formats.tensors.pi0_names import EMBEDDING, NAMING, PREFIX, TIED, UNREAD
from vla_policy.formats.tensors.safetensors_file import (
    CHUNK_BYTES,
    TensorEntry,
    chunks,
    tensor_bytes,
    write,
)
from vla_policy.parsing.json_document import WEIGHTS, write_json

LEROBOT_MODES = {mine: theirs for theirs, mine in lerobot.MODES.items()}


def write_vla(folder: Path, portable: Portable, *, keep_unread: bool = True) -> None:
    """Raises ValueError if no policy file says how the folder fits a robot."""
    if portable.header is None:
        raise ValueError(
            "a folder of this project says which robot it fits: convert a policy file (.yaml) that names the "
            "checkpoint, not the checkpoint alone"
        )
    require_complete(portable.foreign)
    foreign = portable.foreign
    entries = {key: foreign.store.entries[name] for key, name in foreign.named.names.items()}
    vla.write_folder(
        folder, portable.header, _shapes(entries), (chunks(e) for e in entries.values())
    )
    unread = {NAMING.canonical(name): foreign.store.entries[name] for name in foreign.named.unread}
    if keep_unread and unread:
        write(folder / UNREAD_FILE, _shapes(unread), (chunks(e) for e in unread.values()))
    if portable.origin is not None:
        _copy(portable, folder / SOURCE / portable.origin)
    if portable.tokenizer is not None:
        vla.copy_tokenizer(portable.tokenizer, folder)


def write_lerobot(folder: Path, portable: Portable, *, keep_unread: bool = True) -> None:
    """With its own small files if the folder came from lerobot, else with new ones."""
    _write_stored(folder, portable, PREFIX, keep_unread)
    if portable.origin == "lerobot":
        _copy(portable, folder)
        return
    foreign, px = portable.foreign, portable.foreign.config.vision.image_px
    modes = {
        "VISUAL": "IDENTITY",
        "STATE": LEROBOT_MODES[foreign.state.mode],
        "ACTION": LEROBOT_MODES[foreign.actions.mode],
    }
    image = {"type": "VISUAL", "shape": [3, px, px]}
    inputs = {f"observation.images.{slot}": image for slot in foreign.slots}
    inputs[lerobot.STATE] = {
        "type": "STATE",
        "shape": [_width(foreign.state_width, foreign.state)],
    }
    outputs = {
        lerobot.ACTION: {
            "type": "ACTION",
            "shape": [_width(foreign.action_width, foreign.actions)],
        }
    }
    write_json(folder / "config.json", _lerobot_config(portable, inputs, outputs, modes))
    pre, post = _lerobot_steps(portable, inputs | outputs, outputs, modes)
    write_json(folder / PREPROCESSOR, {"name": "policy_preprocessor", "steps": pre})
    write_json(folder / POSTPROCESSOR, {"name": "policy_postprocessor", "steps": post})
    statistics = {
        f"{name}.{key}": _exact(values)
        for name, feature in ((lerobot.STATE, foreign.state), (lerobot.ACTION, foreign.actions))
        for key, values in feature.statistics.items()
    }
    for step in (*pre, *post):
        if "state_file" in step:
            shapes = {k: (v.dtype, tuple(v.shape)) for k, v in statistics.items()}
            data = (tensor_bytes(v) for v in statistics.values())
            write(folder / step["state_file"], shapes, data)


def write_openpi(
    folder: Path, portable: Portable, *, keep_unread: bool = True, asset: str = "converted"
) -> None:
    """With its own small files if the folder came from openpi, else new ones; assets/<asset>.

    Raises ValueError if openpi cannot express how the statistics are used.
    """
    foreign, kind = portable.foreign, portable.foreign.config.name
    for feature in (foreign.state, foreign.actions):
        if portable.origin != "openpi" and feature.mode != openpi.MODES[kind]:
            raise ValueError(
                f"{feature.found}: normalised by {feature.mode}; openpi normalises {kind} by {openpi.MODES[kind]} only"
            )
    _write_stored(folder, portable, "", keep_unread, tied=portable.origin != "openpi")
    if portable.origin == "openpi":
        _copy(portable, folder)
        return
    keys = ("mean", "std", "q01", "q99")
    stats = {
        name: {k: v.tolist() for k, v in feature.statistics.items() if k in keys}
        for name, feature in (("state", foreign.state), ("actions", foreign.actions))
    }
    (folder / openpi.ASSETS / asset).mkdir(parents=True)
    write_json(folder / openpi.ASSETS / asset / openpi.NORM_STATS, {"norm_stats": stats})
    write_json(
        folder / "config.json",
        {
            "action_dim": foreign.config.action_dim,
            "action_horizon": foreign.config.flow_head.rows,
            "paligemma_variant": "gemma_2b",
            "action_expert_variant": "gemma_300m",
            "precision": str(tied_expert_head(foreign)[0]).removeprefix("torch."),
        },
    )


def _write_stored(
    folder: Path, portable: Portable, prefix: str, keep_unread: bool, *, tied: bool = False
) -> None:
    """The weights under their names.

    tied: a separate output embedding, which nothing reads, is left out.
    """
    require_complete(portable.foreign)
    folder.mkdir(parents=True, exist_ok=True)
    entries = stored(portable.foreign)
    shapes = _shapes(entries)
    # The other projects' loaders require the expert's own output, though nothing reads it.
    empty = tied_expert_head(portable.foreign)
    if not keep_unread or UNREAD not in entries:
        entries.pop(UNREAD, None)
        shapes[UNREAD] = empty
    if TIED in entries and (tied or not keep_unread):
        entries[EMBEDDING] = entries.pop(TIED)
        del shapes[TIED]
        shapes[EMBEDDING] = _shapes(entries)[EMBEDDING]
    # In the order of the safetensors library: wide types first, then by name.
    shapes = dict(sorted(shapes.items(), key=lambda item: (-item[1][0].itemsize, item[0])))
    data = [chunks(entries[name]) if name in entries else _zeros(*empty) for name in shapes]
    named = {prefix + name: shape for name, shape in shapes.items()}
    alias = None if TIED in entries else {prefix + TIED: prefix + EMBEDDING}
    write(folder / WEIGHTS, named, data, alias)


def _zeros(dtype: torch.dtype, shape: tuple[int, int]) -> Iterator[bytes]:
    left = dtype.itemsize * shape[0] * shape[1]
    while left:
        size = min(left, CHUNK_BYTES)
        left -= size
        yield bytes(size)


def _shapes(entries: dict[str, TensorEntry]) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    return {name: (e.dtype, e.shape) for name, e in entries.items()}


def _copy(portable: Portable, folder: Path) -> None:
    for name, source in portable.documents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)


def _exact(values: np.ndarray) -> torch.Tensor:
    """float32 as lerobot writes it if that loses nothing, else float64."""
    narrow = torch.tensor(values, dtype=torch.float32)
    wide = torch.tensor(values, dtype=torch.float64)
    return narrow if torch.equal(narrow.double(), wide) else wide


def _width(known: int | None, feature: Any) -> int:
    return known if known is not None else len(next(iter(feature.statistics.values())))


def _lerobot_config(
    portable: Portable, inputs: dict[str, Any], outputs: dict[str, Any], modes: dict[str, str]
) -> dict[str, Any]:
    config, flow = portable.foreign.config, portable.foreign.config.flow_head
    return {
        "type": config.name,
        "n_obs_steps": 1,
        "input_features": inputs,
        "output_features": outputs,
        "device": "cpu",
        "paligemma_variant": "gemma_2b",
        "action_expert_variant": "gemma_300m",
        "dtype": str(tied_expert_head(portable.foreign)[0]).removeprefix("torch."),
        "chunk_size": flow.rows,
        "n_action_steps": flow.rows,
        "max_state_dim": config.state_dim,
        "max_action_dim": config.action_dim,
        "num_inference_steps": flow.steps,
        "image_resolution": [config.vision.image_px] * 2,
        "empty_cameras": 0,
        "tokenizer_max_length": config.max_text,
        "normalization_mapping": modes,
    }


def _lerobot_steps(
    portable: Portable, features: dict[str, Any], outputs: dict[str, Any], modes: dict[str, str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Steps of both processors in lerobot 0.4.4's order."""
    foreign, spoken = portable.foreign, portable.foreign.config.state_token == "none"
    place = 2 if spoken else 5

    def normal(name: str, features: dict[str, Any], file: str) -> dict[str, Any]:
        settings = {
            "eps": max(foreign.state.eps, lerobot.EPS),
            "features": features,
            "norm_map": modes,
        }
        return {"registry_name": name, "config": settings, "state_file": file}  # fmt: skip

    begin = [
        {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
        {"registry_name": "to_batch_processor", "config": {}},
    ]
    tokens = {
        "registry_name": "tokenizer_processor",
        "config": {
            "max_length": foreign.config.max_text, "task_key": "task", "padding_side": "right",
            "padding": "max_length", "truncation": True, "tokenizer_name": "google/paligemma-3b-pt-224",
        },
    }  # fmt: skip
    device = {
        "registry_name": "device_processor",
        "config": {"device": "cpu", "float_dtype": None},
    }
    scale = normal(
        "normalizer_processor",
        features,
        f"policy_preprocessor_step_{place}_normalizer_processor.safetensors",
    )
    words = {"registry_name": "pi05_prepare_state_tokenizer_processor_step", "config": {}}
    line_end = {"registry_name": "pi0_new_line_processor", "config": {}}
    pre = [*begin, scale, words, tokens, device] if spoken else [*begin, line_end, tokens, device, scale]  # fmt: skip
    back = normal(
        "unnormalizer_processor",
        outputs,
        "policy_postprocessor_step_0_unnormalizer_processor.safetensors",
    )
    return pre, [back, device]
