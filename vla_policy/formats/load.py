"""The single entry for checkpoint folders: detects the kind and calls its reader."""

from __future__ import annotations

from pathlib import Path

import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.formats.fit import PolicyFile
from vla_policy.formats.foreign.not_a_checkpoint import require_checkpoint
from vla_policy.formats.kinds import FORMATS, OWN
from vla_policy.formats.native import folder as vla
from vla_policy.formats.policy_file import read_policy_file
from vla_policy.formats.tensors.store import open_store
from vla_policy.parsing.files import one_line, within
from vla_policy.parsing.json_document import WEIGHTS, read_json


def kind_of(folder: Path) -> str:
    """ "vla" (this project's) or a key of FORMATS, by config.json.

    Raises ValueError for any other folder, with the next step if it contains or produces one.
    """
    if folder.name.endswith(".partial"):
        raise ValueError(
            f"{folder}: a checkpoint that was not written to its end; take one beside it"
        )
    require_checkpoint(folder)
    path = folder / "config.json"
    config = read_json(path) if path.is_file() else {}
    if "format" in config and ("contract" in config or "contracts" in config):
        return OWN
    for name, form in FORMATS.items():
        if form.detect(folder, config):
            return name
    if not path.is_file():
        if not (folder / WEIGHTS).exists():
            open_store(folder)  # raises if there are no weights, or only pickles
        raise FileNotFoundError(f"not a checkpoint folder: no config.json in {folder}")
    known = ["format and contract (this project)"]
    known += [form.known_by for form in FORMATS.values() if form.known_by is not None]
    raise ValueError(
        f"{folder}: not a known checkpoint: config.json has neither {', '.join(known[:-1])}, "
        f"nor {known[-1]}, and there is no assets folder (openpi)"
    )


def format_of(file: PolicyFile) -> str:
    """The kind of the folder in a policy file: as stated there, or as detected."""
    if file.format == "auto":
        return kind_of(file.checkpoint)
    # Several kinds share one name in policy files.
    if any(form.said_as == file.format for form in FORMATS.values()):
        found = kind_of(file.checkpoint)
        if found != OWN and FORMATS[found].said_as == file.format:
            return found
    return file.format


def load_checkpoint(
    path: Path,
    *,
    device: str,
    dtype: torch.dtype | None = None,
    embodiment: str | None = None,
) -> Checkpoint:
    """Load a complete checkpoint folder, or a policy file (.yaml) with the folder that it names.

    dtype: None keeps the files' own. embodiment: the robot, for a folder for several robots.
    Raises FileNotFoundError or ValueError with one sentence: what is wrong, and where.
    """
    _require_device(device)
    if path.suffix in (".yaml", ".yml"):
        file = read_policy_file(path)
        require_checkpoint(file.checkpoint)
        kind = format_of(file)
        if kind == OWN:
            raise ValueError(
                f"{path}: {file.checkpoint} is a folder of this project and needs no policy file"
            )
        with within(file.checkpoint):
            return FORMATS[kind].load(file.checkpoint, file, device=device, dtype=dtype)
    kind = kind_of(path)
    if kind != OWN:
        raise ValueError(
            f"{path}: a {kind} folder does not say which robot cameras, state and commands its columns are; "
            f"write a policy file (`vla inspect {path} --policy-file --robot ROBOT` prints it) and load that"
        )
    return vla.load(path, device=device, dtype=dtype, embodiment=embodiment)


def _require_device(name: str) -> None:
    """Raises ValueError for a torch device that this machine or this PyTorch does not have."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device: got {name!r}: {one_line(str(error), 200)}") from error
