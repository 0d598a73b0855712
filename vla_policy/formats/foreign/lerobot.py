"""lerobot folders of pi0 and pi0.5: config.json, model.safetensors, two processor files.

Statistics are found by the `state_file` of the normalising step, never by a number in a file name.
Refused, although lerobot ignores it silently: a feature without statistics, statistics under
another key, tensors that do not match, and keys that lerobot_config does not list.
Source: lerobot 0.4.4 and 0.6.1 (policies/pi0, processor/normalize_processor.py,
relative_action_processor.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.formats.fit import Heads, PolicyFile
from vla_policy.formats.foreign import lerobot_v03
from vla_policy.formats.foreign.common import Feature, Foreign, assemble
from vla_policy.formats.foreign.lerobot_config import (
    POSTPROCESSOR,
    PREPROCESSOR,
    read_relative,
    read_steps,
    require_understood,
    settings_of,
)
from vla_policy.formats.tensors import pi0_names
from vla_policy.formats.tensors.safetensors_file import read, read_header
from vla_policy.formats.tensors.store import open_store
from vla_policy.models.config import FlowHeadConfig, ModelConfig
from vla_policy.parsing.json_document import read_json, require
from vla_policy.parsing.strict_json import number_list
from vla_policy.types import Array

TYPES = ("pi0", "pi05")
IMAGES = re.compile(
    r"^observation\.(images\.)?"
)  # SmolVLA's base has observation.image, .image2, ...
STATE, ACTION = "observation.state", "action"
EMPTY = "empty_camera"
MODES = {
    "MEAN_STD": "mean_std",
    "QUANTILES": "quantiles",
    "MIN_MAX": "min_max",
    "IDENTITY": "identity",
}
EPS = 1e-8  # added to a standard deviation; lerobot's other modes add none, nor does unnormalising


def load(
    folder: Path, file: PolicyFile, *, device: str, dtype: torch.dtype | None = None
) -> Checkpoint:
    """The checkpoint in folder with its policy file. Raises ValueError or FileNotFoundError."""
    foreign = read_folder(folder, heads=file.heads, statistics=file.statistics)
    return assemble(foreign, file, device=device, dtype=dtype)


def read_folder(folder: Path, *, heads: Heads | None, statistics: str | None = None) -> Foreign:
    """Everything but the weights' content. Raises ValueError for files that contradict each other."""
    path = folder / "config.json"
    config = read_json(path)
    kind = require(config, "type", str, path)
    if kind not in TYPES:
        raise ValueError(f"{path}: type: got {kind!r}, expected one of {', '.join(TYPES)}")
    require_understood(config, kind, path)
    whole = open_store(folder)
    weights, buffers = lerobot_v03.split(whole)
    older = bool(buffers) and not (folder / PREPROCESSOR).is_file()
    store = weights if older else whole
    named = pi0_names.name_tensors(store)
    by_tensors = pi0_names.kind(named)
    if by_tensors != kind:
        raise ValueError(
            f"{path}: type is {kind!r}, but the weights are of {by_tensors or 'neither pi0 nor pi0.5'}"
        )
    sizes = pi0_names.sizes(
        store, named, heads=heads, rows=require(config, "chunk_size", int, path),
        steps=require(config, "num_steps" if older else "num_inference_steps", int, path),
        max_text=_max_text(config, None if older else folder, path),
        state_dim=require(config, "max_state_dim", int, path),
    )  # fmt: skip
    sizes = replace(sizes, flow=_continuing(config, sizes.flow_head, path))
    _require_sizes(config, sizes, path)
    inputs = require(config, "input_features", dict, path)
    outputs = require(config, "output_features", dict, path)
    modes = require(config, "normalization_mapping", dict, path)
    require_plain_images(modes, path)
    if older:
        known = {key: _mode(modes.get(key), key, path) for key in ("STATE", "ACTION")}
        where = str(folder)
        state = lerobot_v03.feature(buffers, "normalize_inputs", STATE, known["STATE"], where)
        actions = lerobot_v03.feature(
            buffers, "unnormalize_outputs", ACTION, known["ACTION"], where
        )
    else:
        state = state_feature(folder, modes, statistics)
        actions = action_feature(folder, modes, statistics)
    return Foreign(
        store=store,
        named=named,
        config=sizes,
        state=state,
        actions=actions,
        slots=camera_slots(inputs),
        state_width=width(inputs, STATE, path),
        action_width=width(outputs, ACTION, path),
        prompt_as_given=kind == "pi0",
        antialias=False,
        corner=older,
        relative=None if older else read_relative(folder, width(outputs, ACTION, path)),
    )  # fmt: skip


def columns(folder: Path) -> tuple[tuple[str, ...], int, int]:
    """Camera names, and widths of state and actions, from config.json alone."""
    path = folder / "config.json"
    config = read_json(path)
    inputs = require(config, "input_features", dict, path)
    outputs = require(config, "output_features", dict, path)
    return camera_slots(inputs), width(inputs, STATE, path), width(outputs, ACTION, path)


def camera_slots(inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """Camera names in the checkpoint's order, without its prefix and without always-empty ones."""
    names = (IMAGES.sub("", name) for name in inputs if name.startswith("observation.image"))
    return tuple(name for name in names if not name.startswith(EMPTY))


def state_feature(folder: Path, modes: Mapping[str, Any], within: str | None) -> Feature:
    """Normalisation of the state.

    modes: normalization_mapping of config.json. within: see feature.
    """
    return feature(folder, PREPROCESSOR, "normalizer_processor", STATE, modes.get("STATE"), within)


def action_feature(folder: Path, modes: Mapping[str, Any], within: str | None) -> Feature:
    """Unnormalisation of actions to robot units. Arguments as in state_feature."""
    return feature(
        folder, POSTPROCESSOR, "unnormalizer_processor", ACTION, modes.get("ACTION"), within
    )


def feature(
    folder: Path, processor: str, step: str, name: str, expected: Any, within: str | None = None
) -> Feature:
    """Mode and statistics of feature name in the normalising step of a processor file.

    expected: the mode in config.json. within: the set of statistics, if there are several data
    sets.
    Raises ValueError if the modes differ or statistics are missing.
    """
    path = folder / processor
    steps = [s for s in read_steps(folder, processor) if s["registry_name"] == step]
    if len(steps) != 1:
        raise ValueError(f"{path}: got {len(steps)} steps named {step}, expected 1")
    settings = require(steps[0], "config", dict, path)
    kind = "STATE" if name == STATE else "ACTION"
    mode = require(settings, "norm_map", dict, path).get(kind)
    _mode(mode, kind, path)
    if mode != expected:
        raise ValueError(
            f"{path}: {kind} is normalised by {mode}, config.json says {expected}: files of two checkpoints?"
        )
    found = folder / str(steps[0].get("state_file"))
    statistics: dict[str, Array] = {}
    if mode != "IDENTITY":
        key = name if within is None else f"{within}.{name}"
        found, statistics = _statistics(folder, steps[0], key, path)
    only = settings.get("normalize_observation_keys")
    if only is not None and name == STATE and mode != "IDENTITY" and STATE not in only:
        raise ValueError(
            f"{path}: normalize_observation_keys: got {only!r}, so the state is not normalised, "
            f"but its mode is {mode}; only files that normalise it are understood"
        )
    eps = settings.get("eps", EPS) if mode == "MEAN_STD" else 0.0
    (eps,) = number_list([eps], f"{path}: eps")
    return Feature(MODES[mode], statistics, eps, 0.0, f"{found}: {name}")


def require_plain_images(modes: Mapping[str, Any], path: Path) -> None:
    """Raises ValueError if images are normalised by statistics instead of scaled to -1 .. 1."""
    if (mode := modes.get("VISUAL", "IDENTITY")) != "IDENTITY":
        raise ValueError(
            f"{path}: normalization_mapping: VISUAL: got {mode!r}, only 'IDENTITY' is understood: images are scaled "
            "to -1 .. 1 here, not by statistics"
        )


def _max_text(config: Mapping[str, Any], folder: Path | None, path: Path) -> int:
    """Longest prompt in tokens; config.json and the tokenizing step must agree where both state it.

    folder: None for folders without processor files.
    """
    given = config.get("tokenizer_max_length")
    if folder is not None:
        step = settings_of(read_steps(folder, PREPROCESSOR), "tokenizer_processor") or {}
        padded = step.get("max_length", given)
        if given is not None and padded != given:
            raise ValueError(
                f"{folder / PREPROCESSOR}: tokenizer_processor: max_length: got {padded!r}, "
                f"config.json has {given!r} as tokenizer_max_length"
            )
        return require({"tokenizer_max_length": padded}, "tokenizer_max_length", int, path)
    return require(config, "tokenizer_max_length", int, path)


def _continuing(config: Mapping[str, Any], flow: FlowHeadConfig, path: Path) -> FlowHeadConfig:
    """flow with the leading rows that training conditioned on (rtc_training_max_delay)."""
    most = config.get("rtc_training_max_delay", 0)
    if isinstance(most, bool) or not isinstance(most, int) or not 0 <= most < flow.rows:
        raise ValueError(
            f"{path}: rtc_training_max_delay: got {most!r}, expected a whole number from 0 to {flow.rows - 1}"
        )
    return replace(flow, prefix_trained=True, prefix_rows=most) if most else flow


def _require_sizes(config: Mapping[str, Any], sizes: ModelConfig, path: Path) -> None:
    """Raises ValueError if a size in config.json differs from that of the tensors."""
    side = sizes.vision.image_px
    expected = {
        "image_resolution": [side, side],
        "resize_imgs_with_padding": [side, side],
        "max_state_dim": sizes.state_dim,
        "max_action_dim": sizes.action_dim,
    }
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise ValueError(f"{path}: {key}: got {config[key]!r}, the weights are of {value!r}")


def _mode(mode: Any, kind: str, path: Path) -> str:
    if mode not in MODES:
        raise ValueError(
            f"{path}: {kind} is normalised by {mode!r}, expected one of {', '.join(MODES)}"
        )
    return MODES[mode]


def _statistics(
    folder: Path, step: Mapping[str, Any], name: str, path: Path
) -> tuple[Path, dict[str, Array]]:
    state_file = require(step, "state_file", str, path)
    if Path(state_file).name != state_file:
        raise ValueError(f"{path}: state_file: got {state_file!r}, expected a name in the folder")
    entries, _ = read_header(folder / state_file)
    stem = f"{name}."
    keys = [key for key in entries if key.startswith(stem) and "." not in key[len(stem) :]]
    if not keys:
        others = sorted({key.rpartition(".")[0] for key in entries})
        raise ValueError(
            f"{folder / state_file}: no statistics of {name!r}; there are some of {', '.join(others) or 'nothing'}. "
            "Sending actions without them would move the robot by the wrong amount: export the checkpoint with "
            "the statistics of its own data, or say as `statistics` in the policy file what stands before the "
            "feature's name, if they are of this very robot"
        )
    values = {key[len(stem) :]: read(entries[key]).double().numpy() for key in keys}
    return folder / state_file, {key: v for key, v in values.items() if key != "count"}


def width(features: Mapping[str, Any], name: str, path: Path) -> int:
    shape = features.get(name, {}).get("shape")
    count = shape[0] if isinstance(shape, list) and len(shape) == 1 else None
    if not isinstance(count, int):
        raise ValueError(f"{path}: {name}: got shape {shape!r}, expected one number")
    return count
