"""Costs of a policy: size on disk, parameters, training as far as its folder records it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vla_policy.parsing.json_document import read_json, require
from vla_policy.paths import find_policy, split_adapter
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.sim.twin import EXPERT

WEIGHTS = "*.safetensors"
SAID = (
    "training.json"  # beside weights that have left their run: steps, seconds, on (which machine)
)


def policy_facts(name: str, policy: PolicyProtocol) -> dict[str, Any]:
    """Plain JSON data of a loaded policy.

    Unknown values are None: of a server, expert, other formats.
    weights: hash of its network's values, to detect another checkpoint under the same name.
    """
    facts: dict[str, Any] = {"head": policy.head, "rows": policy.rows}
    of = getattr(policy, "offer", None)  # of a server, which says what it has
    weights = getattr(policy, "weights_hash", "") if of is None else of.weights
    facts |= {"weights": weights or None}
    facts |= {"parameters": _parameters(policy), "checkpoint_mb": None, "training": None}
    folders = checkpoint_folders(name)
    if folders:
        sizes = [path.stat().st_size for folder in folders for path in folder.glob(WEIGHTS)]
        facts["checkpoint_mb"] = round(sum(sizes) / 1e6, 1) if sizes else None
        facts["training"] = training_cost(folders[-1])
    return facts


def checkpoint_folders(name: str) -> list[Path]:
    """The folder of a policy's weights, then that of its adapter; none for a server and the expert."""
    from vla_policy.remote.address import is_remote

    if name == EXPERT or is_remote(name):
        return []
    base, adapter = split_adapter(name)
    path = find_policy(base)
    if path.is_file():
        from vla_policy.formats.policy_file import read_policy_file

        path = read_policy_file(path).checkpoint
    return [path, *([] if adapter is None else [adapter])]


def training_cost(folder: Path) -> dict[str, Any] | None:
    """steps and seconds of a run up to the checkpoint in folder, or what its file says of them; None if neither is there.

    on: which machine, as the file says. Of a run in stages: of its last one. A resumed run counts its seconds from the
    restart: they are added. Raises ValueError for a file that says something else.
    """
    from vla_policy.train.log import read_log
    from vla_policy.train.run_folder import CHECKPOINTS

    place = folder.resolve()
    if (place / SAID).is_file():
        return _said(place / SAID)
    if place.parent.name != CHECKPOINTS or not place.name.isdigit():
        return None
    steps, lines = int(place.name), read_log(place.parent.parent)
    seconds, before = 0.0, 0.0
    for line in lines:
        if line["step"] > steps:
            break
        now = float(line.get("seconds", before))
        seconds += now - before if now >= before else now
        before = now
    return {"steps": steps, "seconds": round(seconds, 1)} if lines else None


def _said(path: Path) -> dict[str, Any]:
    said = read_json(path)
    if unknown := set(said) - {"steps", "seconds", "on"}:
        raise ValueError(f"{path}: got {', '.join(sorted(unknown))}, expected steps, seconds, on")
    steps, seconds = require(said, "steps", int, path), require(said, "seconds", int, path)
    if steps < 1 or seconds < 1:
        raise ValueError(f"{path}: got {steps} steps and {seconds} s, expected 1 or more")
    return {"steps": steps, "seconds": seconds, "on": require(said, "on", str, path)}


def _parameters(policy: PolicyProtocol) -> int | None:
    checkpoint = getattr(policy, "checkpoint", None)
    if checkpoint is None:
        return None
    from vla_policy.families.architectures import parameters

    return parameters(checkpoint.model.config)
