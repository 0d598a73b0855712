"""Shared by lerobot and openpi folders: a pi0 or pi0.5 network, normalisers, a gated tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.checkpoint.contract import Contract
from vla_policy.checkpoint.normalization import Normalizer
from vla_policy.families.pi0 import Pi0Settings, Pi0Statistics
from vla_policy.formats.fit import PolicyFile
from vla_policy.formats.foreign.lerobot_config import Relative
from vla_policy.formats.tensors import pi0_names
from vla_policy.formats.tensors.naming import Named
from vla_policy.formats.tensors.precision import dtype_of
from vla_policy.formats.tensors.store import Store, fill, require_same
from vla_policy.models.blank import without_weights
from vla_policy.models.config import ModelConfig
from vla_policy.models.text import NAMES, TextTokenizer, find_tokenizer, load_text_tokenizer
from vla_policy.models.vla import VLA
from vla_policy.types import Array

Network = TypeVar("Network", bound=nn.Module)
PALIGEMMA_VOCAB = 257_152
GATED = (
    "PaliGemma's is given out only to people who accept its terms "
    "(huggingface.co/google/paligemma-3b-pt-224), so checkpoints come without it"
)


@dataclass(frozen=True, slots=True)
class Feature:
    """Statistics of state or actions in a folder's own form. found: their place, for messages."""

    mode: str
    statistics: Mapping[str, Array]
    eps: float
    eps_inverse: float
    found: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """The content of a folder except its weights.

    slots: its camera names in order. state_width, action_width: used columns; None if unknown.
    prompt_as_given, antialias, corner: see Pi0Settings. relative: None if the folder does not
    state which actions are relative.
    """

    store: Store
    named: Named
    config: ModelConfig
    state: Feature
    actions: Feature
    slots: tuple[str, ...]
    state_width: int | None
    action_width: int | None
    prompt_as_given: bool
    antialias: bool
    corner: bool = False
    relative: Relative | None = None


@dataclass(frozen=True, slots=True)
class FolderDescription:
    """Contract, statistics and settings of a folder with its policy file; no weights, no tokenizer."""

    contract: Contract
    statistics: Pi0Statistics
    settings: Pi0Settings


def assemble(
    foreign: Foreign, file: PolicyFile, *, device: str, dtype: torch.dtype | None
) -> Checkpoint:
    """The checkpoint of a folder and its policy file. Raises ValueError if they do not match."""
    config = foreign.config
    said = describe(foreign, file)
    tokenizer = find_text_tokenizer(
        foreign.store.folder, file.tokenizer, vocab=config.vocab, where=str(file.path)
    )
    model = build(
        foreign.store,
        foreign.named,
        config,
        device=device,
        dtype=dtype,
        network=VLA,
        called=pi0_names.NAMING.theirs,
    )
    return Checkpoint(
        model, said.contract, said.statistics, tokenizer, family="pi0", settings=said.settings
    )


def describe(foreign: Foreign, file: PolicyFile) -> FolderDescription:
    """Contract, statistics and settings. Raises ValueError if folder and file do not match."""
    config = foreign.config
    pairs = cameras(foreign.slots, file)
    for what, names, width, room in (
        ("state", file.state_names, foreign.state_width, config.state_dim),
        ("actions", file.action_names, foreign.action_width, config.action_dim),
    ):
        require_width(f"{file.path}: {what}", names, width, room)
    statistics = Pi0Statistics(
        normaliser(foreign.state, file.state_names, file),
        normaliser(foreign.actions, file.action_names, file),
    )
    padded = "state_padded_in_prompt" in file.compatibility
    settings = Pi0Settings(
        slots=tuple(slot for slot, _ in pairs),
        relative=relative_names(foreign.relative, file),
        prompt_as_given=foreign.prompt_as_given,
        state_in_words=config.state_token == "none"
        and "no_state_in_prompt" not in file.compatibility,
        state_words=config.state_dim if padded else len(file.state_names),
        antialias=foreign.antialias,
        corner=foreign.corner,
        bars=-3.0 if "letterbox_lerobot_0_4_4" in file.compatibility else -1.0,
    )
    contract = file.contract(
        image_px=config.vision.image_px, camera_names=tuple(robot for _, robot in pairs)
    )
    return FolderDescription(contract, statistics, settings)


def build(
    store: Store,
    named: Named,
    config: Any,
    *,
    device: str,
    dtype: torch.dtype | None,
    network: Callable[[Any], Network],
    called: Callable[[str], str] = str,
) -> Network:
    """The network of config, created on the meta device and filled tensor by tensor.

    dtype: None keeps each tensor's own. called: a model key's name in such files, for reports of
    missing tensors.
    """
    with without_weights():
        model = network(config)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    expected = {key: named.names.get(key) or called(key) for key in shapes}
    require_same(store, expected, shapes, set(named.unread))
    fill(
        model, store, expected, device=device, dtype_of=lambda key, own: dtype_of(key, own, dtype)
    )
    return model.eval()


def find_text_tokenizer(
    folder: Path, given: Path | None, *, vocab: int, where: str, missing: str = GATED
) -> TextTokenizer:
    """The tokenizer at given, else the one in the folder. missing: why there may be none.

    Raises ValueError if it cannot be the model's.
    """
    path = given or find_tokenizer(folder)
    if path is None:
        raise ValueError(
            f"{folder}: no tokenizer. {missing}: put "
            f"{' or '.join(NAMES)} into the folder, or say `tokenizer: <path>` in {where}"
        )
    tokenizer = load_text_tokenizer(path)
    if tokenizer.size > vocab:
        raise ValueError(
            f"{path}: got a tokenizer of {tokenizer.size} tokens, the model has {vocab}"
        )
    if vocab == PALIGEMMA_VOCAB and tokenizer.bos != 2:
        raise ValueError(
            f"{path}: its <bos> is {tokenizer.bos}, PaliGemma's is 2: this is another model's tokenizer"
        )
    return tokenizer


def normaliser(feature: Feature, names: tuple[str, ...], file: PolicyFile) -> Normalizer:
    """Statistics of columns names in robot units. Raises ValueError, also for another robot's."""
    scale = np.array([file.units.get(name, 1.0) for name in names])
    trimmed = {}
    for key, values in feature.statistics.items():
        if values.ndim != 1 or len(values) < len(names):
            raise ValueError(
                f"{feature.found}: {key} has {list(values.shape)} values, expected {len(names)} "
                f"({', '.join(names)}): statistics of another robot?"
            )
        if _beyond_padding(values[len(names) :]):
            raise ValueError(
                f"{feature.found}: {key} has {len(values)} values, expected {len(names)} "
                f"({', '.join(names)}), and those beyond are not padding: statistics of another robot?"
            )
        trimmed[key] = values[: len(names)] * scale
    return Normalizer(
        what=feature.found,
        names=names,
        mode=feature.mode,
        statistics=trimmed,
        eps=feature.eps,
        eps_inverse=feature.eps_inverse,
        constant=tuple(name for name in file.constant if name in names),
    )


def cameras(slots: tuple[str, ...], file: PolicyFile) -> tuple[tuple[str, str], ...]:
    """(slot, robot camera) in the checkpoint's order. Raises ValueError for an unknown slot."""
    given = dict(file.cameras)
    unknown = [slot for slot in given if slot not in slots]
    if unknown:
        raise ValueError(
            f"{file.path}: cameras: the checkpoint has no {', '.join(unknown)}; it has {', '.join(slots)}"
        )
    return tuple((slot, given[slot]) for slot in slots if slot in given)


def require_width(where: str, names: tuple[str, ...], width: int | None, room: int) -> None:
    """Raises ValueError unless names have width columns (None: unknown) and fit the network."""
    if len(names) > room:
        raise ValueError(f"{where}: got {len(names)} columns, the network takes at most {room}")
    if width is not None and len(names) != width:
        raise ValueError(
            f"{where}: got {len(names)} columns ({', '.join(names)}), the checkpoint was trained with {width}"
        )


# Prefix of a column's name; the space of steps; the space of positions for the same column.
STEPS = (("joint.", "joint_delta", "joint_position"), ("ee.", "ee_delta", "ee_pose"))


def relative_names(relative: Relative | None, file: PolicyFile) -> tuple[str, ...]:
    """The action columns predicted relative to the state, by the folder, else by the policy file.

    Raises ValueError if the two contradict each other, or if a state column is not the action's.
    """
    if relative is None:
        return _of_positions(file.relative, file, f"{file.path}: actions.relative")
    names = tuple(name for name, on in zip(file.action_names, relative.mask, strict=True) if on)
    if file.relative and set(file.relative) != set(names):
        raise ValueError(
            f"{file.path}: actions.relative: got {', '.join(file.relative)}, but {relative.where} makes "
            f"{', '.join(names) or 'none'} relative; leave actions.relative out to take those"
        )
    # lerobot adds column i of the state to column i of the actions, whatever their names.
    for i, (name, on) in enumerate(zip(file.action_names, relative.mask, strict=True)):
        state = file.state_names[i] if i < len(file.state_names) else None
        if on and state != name:
            raise ValueError(
                f"{file.path}: {relative.where} adds column {i} of the state to column {i} of the actions; got "
                f"{state or 'no such column'} and {name}, expected the same name in both"
            )
    return _of_positions(names, file, f"{file.path}: {relative.where}")


def _of_positions(names: tuple[str, ...], file: PolicyFile, where: str) -> tuple[str, ...]:
    """names, unchanged.

    Raises ValueError for spaces of steps: relative actions become positions.
    """
    spaces = [space for _, space in file.spaces]
    for start, steps, position in STEPS:
        if steps in spaces and position not in spaces:
            if wrong := [n for n in names if n.startswith(start)]:
                raise ValueError(
                    f"{where}: {', '.join(wrong)} minus the state becomes a position again, the robot takes {steps}, "
                    f"which is a step: take a robot file whose arm takes {position}"
                )
    return names


def _beyond_padding(values: Array) -> bool:
    """Whether padding columns hold values: padding is 0, its standard deviation 0 or 1."""
    return bool(((values != 0.0) & (values != 1.0)).any())
