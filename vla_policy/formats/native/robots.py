"""The robots of a folder of this project, each with a contract and statistics.

A folder for one robot has `contract` in config.json; one for several has `contracts`, by robot
name, and statistics.json likewise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from vla_policy.checkpoint.contract import Contract, from_dict
from vla_policy.parsing.json_document import read_json, require

T = TypeVar("T")


def contracts_of(
    folder: Path, config: Mapping[str, Any]
) -> dict[str, tuple[Contract, Mapping[str, Any]]]:
    """Contract, and statistics as plain data, of each robot; a single one under its first name.

    config: its config.json. Raises FileNotFoundError or ValueError naming what does not match.
    """
    path, found = folder / "config.json", folder / "statistics.json"
    if "contract" in config and "contracts" in config:
        raise ValueError(f"{path}: got contract and contracts, expected one of them")
    if "contracts" not in config:
        contract = from_dict(require(config, "contract", dict, path), f"{path}: contract")
        return {contract.embodiments[0]: (contract, read_json(found))}
    named, statistics = require(config, "contracts", dict, path), read_json(found)
    if not named or set(named) != set(statistics):
        raise ValueError(
            f"{found}: statistics of {', '.join(statistics)}; contracts are of {', '.join(named)}"
        )
    return {
        name: (_named(name, named, path), require(statistics, name, dict, found)) for name in named
    }


def choose(folder: Path, robots: Mapping[str, T], embodiment: str | None) -> T:
    """The entry of a robot. embodiment: required if there are several.

    A single one is returned for any robot: contract.check lists every difference to the robot.
    Raises ValueError listing the robots of the folder.
    """
    if len(robots) == 1:
        return next(iter(robots.values()))
    known = ", ".join(robots)
    if embodiment is None:
        raise ValueError(f"{folder}: trained for several robots; say which of them: {known}")
    if embodiment not in robots:
        raise ValueError(
            f"{folder}: robot: the checkpoint was trained for {known}, not for {embodiment!r}"
        )
    return robots[embodiment]


def _named(name: str, contracts: Mapping[str, Any], path: Path) -> Contract:
    contract = from_dict(require(contracts, name, dict, path), f"{path}: contracts.{name}")
    if contract.embodiments != (name,):
        raise ValueError(
            f"{path}: contracts.{name} is for {', '.join(contract.embodiments)}, expected {name}"
        )
    return contract
