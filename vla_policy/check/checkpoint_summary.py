"""A checkpoint's description, without its weights: contract, and the range of each column in training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vla_policy.checkpoint.contract import Contract
from vla_policy.checkpoint.training_range import TrainingRanges, columns
from vla_policy.formats.fit import PolicyFile
from vla_policy.formats.foreign.not_a_checkpoint import require_checkpoint
from vla_policy.formats.native.robots import choose, contracts_of
from vla_policy.formats.policy_file import read_policy_file
from vla_policy.parsing.fields import Place, read_yaml
from vla_policy.parsing.files import one_line
from vla_policy.parsing.json_document import read_json
from vla_policy.parsing.strict_json import number_list, text_list

IDENTITY = (-1.0, 1.0)  # ends that leave a column unchanged


@dataclass(frozen=True, slots=True)
class CheckpointSummary:
    """place: the top of the policy file, or of the contract in config.json, which can be edited.

    own: a folder of this project, where the contract is fixed. state, actions: None if unknown.
    slots: the robot's name of a camera -> the checkpoint's, where they differ.
    """

    path: Path
    contract: Contract
    place: Place
    own: bool
    state: TrainingRanges | None
    actions: TrainingRanges | None
    slots: Mapping[str, str] = field(default_factory=dict)


def describe(path: Path, robot: str | None = None) -> CheckpointSummary:
    """robot: its name, for a folder for several robots; None: the first.

    Raises ValueError or FileNotFoundError, in one sentence, for inconsistent files.
    """
    if path.is_dir():
        require_checkpoint(path)
        return _own(path, robot)
    file = read_policy_file(path)
    _, place = read_yaml(path)
    state, actions = _foreign(file)
    contract = file.contract(image_px=0)
    slots = {robot: slot for slot, robot in file.cameras}
    return CheckpointSummary(path, contract, place, False, state, actions, slots)


def trained_for(path: Path) -> tuple[str | None, ...]:
    """The robots for which a checkpoint has a contract of their own; (None,) with only one contract."""
    config = read_json(path / "config.json") if path.is_dir() else {}
    named = config.get("contracts")
    return tuple(named) if isinstance(named, dict) and named else (None,)


def _own(folder: Path, robot: str | None) -> CheckpointSummary:
    content, place = read_yaml(folder / "config.json")  # JSON is YAML; so line numbers are known
    if not isinstance(content, dict) or not {"contract", "contracts"} & set(content):
        raise ValueError(
            f"{folder}: no contract in config.json: a checkpoint of another project needs a policy file "
            f"(`vla inspect {folder} --policy-file --robot ROBOT` prints it)"
        )
    known = contracts_of(folder, content)
    at = place.at("contract")
    if "contracts" in content:
        robot, at = robot or next(iter(known)), place.at("contracts")
        if robot not in known:
            raise at.refuse(robot, f"one of the robots it was trained for: {', '.join(known)}")
        at = at.at(robot)
    contract, statistics = choose(folder, known, robot)
    found = folder / "statistics.json"
    actions = _plain(statistics.get("actions"), found, _relative(content, folder))
    if actions is not None:
        actions = _normalised_only(actions, content.get("family"))
    return CheckpointSummary(
        path=folder,
        contract=contract,
        place=at,
        own=True,
        state=_plain(statistics.get("state"), found, frozenset()),
        actions=actions,
    )


def _relative(config: Mapping[str, Any], folder: Path) -> frozenset[str]:
    """Columns with statistics relative to the state, by the folder that it was converted from."""
    settings = config.get("settings")
    names = settings.get("relative") if isinstance(settings, Mapping) else None
    return frozenset(text_list(names or [], f"{folder / 'config.json'}: settings.relative"))


def _normalised_only(found: TrainingRanges, family: object) -> TrainingRanges:
    """Without the columns that the family did not normalise: their ends do not describe the data."""
    ends = tuple(zip(found.low, found.high, strict=True))
    if IDENTITY not in ends:
        return found
    from vla_policy.families import FAMILIES  # needs torch, so imported only for such folders

    record = FAMILIES.get(family) if isinstance(family, str) else None
    kept = [i for i, pair in enumerate(ends) if record is None or pair != record.not_normalised]
    names = tuple(found.names[i] for i in kept)
    return replace(found, names=names, low=found.low[kept], high=found.high[kept])


def _plain(part: Any, where: Path, relative: frozenset[str]) -> TrainingRanges | None:
    """Ends (names, lower, upper) or a normaliser (names, statistics) as plain data."""
    if not isinstance(part, Mapping) or "names" not in part:
        return None
    values = part.get("statistics", part)
    if not isinstance(values, Mapping):
        raise ValueError(
            f"{where}: statistics: got {one_line(repr(values), 80)}, expected a mapping"
        )
    names = text_list(part["names"], f"{where}: names")
    arrays = {}
    for key, numbers in values.items():
        if isinstance(numbers, list) and key not in ("names", "constant"):
            arrays[key] = np.array(number_list(numbers, f"{where}: {key}"))
            if len(numbers) != len(names):
                raise ValueError(
                    f"{where}: {key}: got {len(numbers)} numbers, expected {len(names)}"
                )
    return columns(names, arrays, str(where), relative)


def _foreign(file: PolicyFile) -> tuple[TrainingRanges | None, TrainingRanges | None]:
    """Statistics of another project's folder for the columns of the policy file."""
    # The formats need torch, this project's folders do not.
    from vla_policy.formats.kinds import FORMATS
    from vla_policy.formats.load import format_of

    kind = format_of(file)
    require_checkpoint(file.checkpoint)
    return FORMATS[kind].ranges(file) if kind in FORMATS else (None, None)
