"""The record of one kind of checkpoint folder of another project; kinds/__init__.py has the table of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.checkpoint.training_range import TrainingRanges
from vla_policy.formats.conversion.portable import Portable
from vla_policy.formats.fit import Heads, PolicyFile
from vla_policy.formats.foreign.common import Feature
from vla_policy.formats.tool_columns import ToolColumns

PALIGEMMA = "~/paligemma/tokenizer.model   # PaliGemma's, which the folder has not"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a folder states. widths: None if not stated. labels: action column names, maybe none.

    relative: bool of each action column. state: statistics of the state. newer: written by
    lerobot 0.5.1 or later. lines: policy file lines that only this kind needs.
    """

    slots: tuple[str, ...]
    state_width: int | None
    action_width: int | None
    labels: tuple[str, ...] = ()
    relative: tuple[bool, ...] = ()
    state: Feature | None = None
    newer: bool = True
    trained_on: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """Plain functions for one kind of folder. Each raises FileNotFoundError or ValueError.

    detect:   (folder, config) -> whether it is one; config: config.json, {} without one.
    known_by: what in config.json identifies it, as text; None if another record states it.
    load:     (folder, file, device=, dtype=) -> Checkpoint; its family is a key of
    families.FAMILIES.
    ranges:   file -> state, actions: training data ranges of the file's columns; None if unknown.
    skeleton: folder -> the start of a policy file, for no robot in particular.
    facts:    folder -> the facts for a robot's policy file.
    remarks:  folder -> lines to print about a folder without a policy file.
    tool:     the columns that its models can drive; None: any.
    said_as:  its name in policy files; None: its own name.
    tokenizer: value and comment of a policy file's `tokenizer`, if the folder has none.
    portable: (folder, file, heads) -> the folder under this project's names, to be written as any
              kind that has `write`; None: `vla convert` loads and saves it.
    write:    (folder, portable, keep_unread=) writes one. None: nothing is converted to it.
    rewrite:  (folder, file, destination, to, keep_unread=) -> whether the result has its
              tokenizer: a conversion of its own, instead of portable.
    rewrite_own: family -> as rewrite, for a folder of this project with a model of that family.
    """

    name: str
    detect: Callable[[Path, Mapping[str, Any]], bool]
    load: Callable[..., Checkpoint]
    ranges: Callable[[PolicyFile], tuple[TrainingRanges | None, TrainingRanges | None]]
    skeleton: Callable[[Path], str]
    facts: Callable[[Path], Facts]
    known_by: str | None = None
    remarks: Callable[[Path], list[str]] = lambda folder: []
    tool: ToolColumns | None = None
    said_as: str | None = None
    tokenizer: str = PALIGEMMA
    portable: Callable[[Path, PolicyFile | None, Heads | None], Portable] | None = None
    write: Callable[..., None] | None = None
    rewrite: Callable[..., bool] | None = None
    rewrite_own: Mapping[str, Callable[..., bool]] = field(default_factory=dict)
