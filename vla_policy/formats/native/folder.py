"""This project's folder, the same for every family:

config.json         format, family, model (sizes), contract (see contract.py), settings (of the
                    family); for a network for several robots contracts, by robot name
model.safetensors   keys of the model, strict
statistics.json     normalisation of state and actions; for several robots by robot name
tokenizer.json or tokenizer.model
language.json       the sentences it was trained on, by robot (families/language.py); optional
naming.safetensors  head that classifies each place of an image (models/naming.py); optional
unread.safetensors  tensors of a converted folder that no model reads; only for `vla convert`
source/<format>/    the small files of a converted folder, so that it can be converted back exactly
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vla_policy.checkpoint import contract as contracts
from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families import FAMILIES
from vla_policy.families.family import Family
from vla_policy.formats.native.language import read_language, read_naming, write_said
from vla_policy.formats.native.robots import choose, contracts_of
from vla_policy.formats.tensors.precision import dtype_of
from vla_policy.formats.tensors.safetensors_file import tensor_bytes, write
from vla_policy.formats.tensors.store import Store, fill, open_store, require_same
from vla_policy.models import encoders
from vla_policy.models.blank import without_weights
from vla_policy.models.text import TextTokenizer
from vla_policy.parsing import dataclass_json
from vla_policy.parsing.json_document import WEIGHTS, read_json, require, write_json

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Header:
    """The content of a folder except weights and tokenizer."""

    family: str
    sizes: Any
    contract: contracts.Contract
    settings: Any
    statistics: Any


def save(folder: Path, checkpoint: Checkpoint, *others: Checkpoint) -> None:
    """Write checkpoint into folder, which is created if missing; weights in their own precision.

    others: the same network for other robots.
    """
    headers = [
        Header(c.family, c.model.config, c.contract, c.settings, c.statistics)
        for c in (checkpoint, *others)
    ]
    tensors = checkpoint.model.state_dict()
    write_folder(
        folder,
        headers[0],
        {key: (value.dtype, tuple(value.shape)) for key, value in tensors.items()},
        (tensor_bytes(value) for value in tensors.values()),
        others=headers[1:],
    )
    if isinstance(checkpoint.tokenizer, TextTokenizer):
        copy_tokenizer(checkpoint.tokenizer.source, folder)
    elif checkpoint.tokenizer is not None:
        checkpoint.tokenizer.save(str(folder / "tokenizer.json"))
    write_said(folder, (checkpoint, *others))


def write_folder(
    folder: Path,
    header: Header,
    tensors: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
    data: Iterable[Iterable[bytes]],
    *,
    others: Sequence[Header] = (),
) -> None:
    """Everything but the tokenizer; see safetensors_file.write for tensors and data.

    others: headers of the same network for more robots. Raises ValueError for duplicate robots.
    """
    robots = [name for h in (header, *others) for name in h.contract.embodiments]
    if len(set(robots)) < len(robots):
        raise ValueError(
            f"{folder}: each robot has one contract, got them for {', '.join(robots)}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    family = FAMILIES[header.family]
    config = {
        "format": FORMAT,
        "family": header.family,
        "model": dataclass_json.to_dict(header.sizes),
    }
    statistics = family.statistics.to_dict(header.statistics)
    if others:
        named = {h.contract.embodiments[0]: h for h in (header, *others)}
        config["contracts"] = {n: contracts.to_dict(h.contract) for n, h in named.items()}
        statistics = {n: family.statistics.to_dict(h.statistics) for n, h in named.items()}
    else:
        config["contract"] = contracts.to_dict(header.contract)
    if header.settings is not None:
        config["settings"] = dataclass_json.to_dict(header.settings)
    write(folder / WEIGHTS, tensors, data)
    write_json(folder / "statistics.json", statistics)
    write_json(folder / "config.json", config)


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Put a tokenizer file beside the weights."""
    shutil.copyfile(source, folder / f"tokenizer{source.suffix}")


def read_header(folder: Path, embodiment: str | None = None) -> Header:
    """config.json and statistics.json, for one robot. Raises as read_headers and choose."""
    return choose(folder, read_headers(folder), embodiment)


def read_headers(folder: Path) -> dict[str, Header]:
    """config.json and statistics.json, by robot; a single-robot network under its first name.

    Raises FileNotFoundError or ValueError naming what does not match.
    """
    path = folder / "config.json"
    data = read_json(path)
    if data.get("format") != FORMAT:
        raise ValueError(f"{path}: format is {data.get('format')!r}, expected {FORMAT}")
    family = data.get("family", "tiny")  # folders from before there were other families
    if not isinstance(family, str) or family not in FAMILIES:
        raise ValueError(f"{path}: family: got {family!r}, expected one of {', '.join(FAMILIES)}")
    kind = FAMILIES[family]
    settings = None
    if kind.settings is not None:
        settings = dataclass_json.from_dict(
            kind.settings, data.get("settings"), f"{path}: settings"
        )
    sizes = dataclass_json.from_dict(
        kind.sizes, require(data, "model", dict, path), f"{path}: model"
    )
    return {
        name: Header(family, sizes, contract, settings, _statistics(folder, kind, contract, plain))
        for name, (contract, plain) in contracts_of(folder, data).items()
    }


def _statistics(
    folder: Path, kind: Family, contract: contracts.Contract, data: Mapping[str, Any]
) -> Any:
    """Raises ValueError if they do not have the contract's columns."""
    try:
        statistics = kind.statistics.from_dict(data)
    except ValueError as error:
        raise ValueError(f"{folder}/statistics.json: {error}") from error
    for what, names, ends in (
        ("state", contract.state_names, getattr(statistics, "state", None)),
        ("actions", contract.model_action_names, statistics.actions),
    ):
        if ends is not None and ends.names != names:
            raise ValueError(
                f"{folder}/statistics.json: {what} are of {ends.names}, the contract has {names}"
            )
    return statistics


def load(
    folder: Path,
    *,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    embodiment: str | None = None,
) -> Checkpoint:
    """Read a folder onto device, each weight once and directly into place.

    dtype: None keeps the file's.
    embodiment: the robot, for a folder for several robots.
    Raises FileNotFoundError for a missing file, ValueError with a difference report for keys,
    shapes, format, statistics or robot that do not match.
    """
    header = read_header(folder, embodiment)
    kind = FAMILIES[header.family]
    encoders.require(header.sizes)
    tokenizer = None
    if kind.tokenizer is not None:
        tokenizer = kind.tokenizer(folder, header.sizes.vocab)
    model = fill_network(
        open_store(folder), header.sizes, kind.network, device=device, dtype=dtype
    )
    return Checkpoint(
        model,
        header.contract,
        header.statistics,
        tokenizer,
        header.family,
        header.settings,
        language=read_language(folder, header.contract.embodiments) if kind.understand else None,
        naming=read_naming(folder, header.sizes, device) if kind.see else None,
    )


def fill_network(
    store: Store,
    sizes: Any,
    network: Callable[[Any], nn.Module],
    *,
    device: str,
    dtype: torch.dtype | None,
) -> nn.Module:
    """The network filled from a store that uses the model's own names."""
    with without_weights():
        model = network(sizes)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    names = {key: key for key in shapes}
    require_same(store, names, shapes, set())
    fill(model, store, names, device=device, dtype_of=lambda key, own: dtype_of(key, own, dtype))
    return model.to(device).eval()  # also buffers that are not saved: constants of the sizes
