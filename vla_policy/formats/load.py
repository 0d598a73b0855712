"""One door for checkpoint folders: which kind it is, and the reader for it."""

from __future__ import annotations

from pathlib import Path

import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.formats.foreign import lerobot, openpi, openvla, rt2, smolvla
from vla_policy.formats.foreign.not_a_checkpoint import require_checkpoint
from vla_policy.formats.native import folder as vla
from vla_policy.formats.policy_file import read_policy_file
from vla_policy.formats.tensors.store import open_store
from vla_policy.parsing.files import within
from vla_policy.parsing.json_document import WEIGHTS, read_json

# Kind of folder -> reader of it and its policy file.
READERS = {
    "lerobot": lerobot.load,
    "smolvla": smolvla.load,
    "openpi": openpi.load,
    "openvla": openvla.load,
    "paligemma": rt2.load,
}


def kind_of(folder: Path) -> str:
    """ "vla", "lerobot", "smolvla" (lerobot's folder of it), "openpi", "openvla" or "paligemma", by config.json.

    Raises ValueError if it is none of them; what leads to a checkpoint is told as such.
    """
    require_checkpoint(folder)
    path = folder / "config.json"
    config = read_json(path) if path.is_file() else {}
    if "format" in config and ("contract" in config or "contracts" in config):
        return "vla"
    if "type" in config and "input_features" in config:
        return "smolvla" if config["type"] == "smolvla" else "lerobot"
    if config.get("model_type") in ("openvla", "paligemma"):
        return config["model_type"]
    if (folder / openpi.ASSETS).is_dir() or "action_horizon" in config:
        return "openpi"
    if not path.is_file():
        if not (folder / WEIGHTS).exists():
            open_store(folder)  # says that there are no weights, or only pickles
        raise FileNotFoundError(f"not a checkpoint folder: no config.json in {folder}")
    raise ValueError(
        f"{folder}: not a known checkpoint: config.json has neither format and contract (this project), type and "
        "input_features (lerobot), nor model_type openvla or paligemma, and there is no assets folder (openpi)"
    )


def load_checkpoint(
    path: Path,
    *,
    device: str,
    dtype: torch.dtype | None = None,
    embodiment: str | None = None,
) -> Checkpoint:
    """A checkpoint folder that is complete, or a policy file (.yaml) with the folder that it names.

    dtype: None keeps what is in the files. embodiment: the robot, for a folder that is for several.
    Raises FileNotFoundError or ValueError that says in one sentence what is wrong and where.
    """
    if path.suffix in (".yaml", ".yml"):
        file = read_policy_file(path)
        require_checkpoint(file.checkpoint)
        kind = kind_of(file.checkpoint) if file.format == "auto" else file.format
        if kind == "lerobot" and kind_of(file.checkpoint) == "smolvla":
            kind = "smolvla"
        if kind == "vla":
            raise ValueError(
                f"{path}: {file.checkpoint} is a folder of this project and needs no policy file"
            )
        with within(file.checkpoint):
            return READERS[kind](file.checkpoint, file, device=device, dtype=dtype)
    kind = kind_of(path)
    if kind != "vla":
        raise ValueError(
            f"{path}: a {kind} folder does not say which robot cameras, state and commands its columns are; "
            f"write a policy file (`vla inspect {path} --policy-file --robot ROBOT` prints it) and load that"
        )
    return vla.load(path, device=device, dtype=dtype, embodiment=embodiment)
