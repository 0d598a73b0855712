"""Low-rank adapters (LoRA, arXiv:2106.09685): a folder in peft's own format, and its base model.

    adapter_config.json         peft's: rank, alpha, the layers that it changes
    adapter_model.safetensors   base_model.model.LAYER.lora_A.weight, .lora_B.weight; full tensors
                                of layers trained in full
    base.json                   name and fingerprint of the policy that it was trained on
    language.json               the sentences that base and adapter understand together; optional,
                                the base's otherwise

A policy is named BASE+ADAPTER. The adapter is added to the weights when it is loaded
(W + alpha / rank * B A), so inference costs nothing more and works with every engine; peft is
needed to train an adapter, not to use one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.formats.native.language import read_language
from vla_policy.formats.tensors.safetensors_file import read, read_header
from vla_policy.parsing.json_document import read_json, require, write_json

CONFIG, WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
START, DOWN, UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
FORMAT = 1
SAMPLED = 1024  # values of each tensor that enter a fingerprint
# peft's options that change the sum; others than these are refused.
PLAIN: Mapping[str, Any] = {
    "peft_type": "LORA", "bias": "none", "use_dora": False, "fan_in_fan_out": False, "rank_pattern": {},
    "alpha_pattern": {}, "lora_bias": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Adapter:
    """low_rank: layer -> A float[r, in] and B float[out, r]. whole: parameter -> its value. scale: of B A."""

    folder: Path
    scale: float
    low_rank: Mapping[str, tuple[Tensor, Tensor]]
    whole: Mapping[str, Tensor]
    base: str
    fingerprint: str


def fingerprint(model: nn.Module) -> str:
    """sha256 of names, shapes and values of all parameters, at most SAMPLED of each, as bfloat16.

    The values are evenly spaced. The same for weights kept in float32 and in bfloat16, and for
    every format of the folder.
    """
    digest = hashlib.sha256()
    for name, values in sorted(model.named_parameters(), key=lambda pair: pair[0]):
        flat = values.detach().reshape(-1)
        picked = flat[:: max(1, len(flat) // SAMPLED)][:SAMPLED].to("cpu", torch.bfloat16)
        digest.update(f"{name} {tuple(values.shape)} ".encode())
        digest.update(picked.contiguous().view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def write_base(folder: Path, name: str, print_of_base: str) -> None:
    """Write base.json, which names the base of the adapter in folder."""
    write_json(folder / BASE, {"format": FORMAT, "base": name, "fingerprint": print_of_base})


def read_adapter(folder: Path) -> Adapter:
    """The adapter in folder. Raises FileNotFoundError, or ValueError for an unsupported kind."""
    if not folder.is_dir():
        raise FileNotFoundError(f"adapter {folder}: no such folder")
    config, said = read_json(folder / CONFIG), read_json(folder / BASE)
    for key, plain in PLAIN.items():
        if config.get(key, plain) not in (plain, None):
            raise ValueError(f"{folder / CONFIG}: {key}: got {config[key]!r}, expected {plain!r}")
    rank = require(config, "r", int, folder / CONFIG)
    alpha = config.get("lora_alpha")
    if rank < 1 or isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise ValueError(
            f"{folder / CONFIG}: got r {rank} and lora_alpha {alpha!r}, expected numbers"
        )
    entries, _ = read_header(folder / WEIGHTS)
    tensors = {name.removeprefix(START): read(entry) for name, entry in entries.items()}
    broken = [name for name, values in tensors.items() if not torch.isfinite(values).all()]
    if broken:
        raise ValueError(f"{folder / WEIGHTS}: not finite: {', '.join(broken[:3])}")
    layers = {name.removesuffix(DOWN) for name in tensors if name.endswith(DOWN)}
    missing = [layer for layer in sorted(layers) if layer + UP not in tensors]
    if missing or not tensors:
        raise ValueError(f"{folder / WEIGHTS}: got no {UP} of {', '.join(missing) or 'any layer'}")
    paired = {layer + end for layer in layers for end in (DOWN, UP)}
    return Adapter(
        folder,
        alpha / (rank**0.5 if config.get("use_rslora") else rank),
        {layer: (tensors[layer + DOWN], tensors[layer + UP]) for layer in sorted(layers)},
        {name: values for name, values in tensors.items() if name not in paired},
        require(said, "base", str, folder / BASE),
        require(said, "fingerprint", str, folder / BASE),
    )


def with_adapter(checkpoint: Checkpoint, adapter: Adapter) -> Checkpoint:
    """The checkpoint with the adapter merged into its network, in place, and their joint language.

    Raises as merge does.
    """
    merge(checkpoint.model, adapter)
    language = read_language(adapter.folder, checkpoint.contract.embodiments)
    if language is None:
        return checkpoint
    # least is None where vision was trained too: the naming head no longer applies.
    naming = None if language.least is None else checkpoint.naming
    return replace(checkpoint, language=language, naming=naming)


@torch.no_grad()
def merge(model: nn.Module, adapter: Adapter) -> None:
    """Add the adapter to the weights of its base, in place, in their precision.

    Raises ValueError, before any change, for another base, or for layers or shapes it lacks.
    """
    if (found := fingerprint(model)) != adapter.fingerprint:
        raise ValueError(
            f"{adapter.folder}: an adapter of {adapter.base!r} ({adapter.fingerprint[:12]}), got another base "
            f"({found[:12]}): what it adds means nothing there"
        )
    parameters = dict(model.named_parameters())
    shapes: dict[str, tuple[int, ...] | None] = {
        f"{layer}.weight": (up.shape[0], down.shape[1]) if down.shape[0] == up.shape[1] else None
        for layer, (down, up) in adapter.low_rank.items()
    }
    shapes |= {name: tuple(values.shape) for name, values in adapter.whole.items()}
    for name, shape in shapes.items():
        if name not in parameters or shape != tuple(parameters[name].shape):
            got = tuple(parameters[name].shape) if name in parameters else "no such tensor"
            raise ValueError(f"{adapter.folder}: {name} is {shape} there, the base has {got}")
    for layer, (down, up) in adapter.low_rank.items():
        weight = parameters[f"{layer}.weight"]
        step = adapter.scale * (up.to(weight.device).float() @ down.to(weight.device).float())
        weight.copy_(weight.float() + step)
    for name, values in adapter.whole.items():
        parameters[name].copy_(values)
