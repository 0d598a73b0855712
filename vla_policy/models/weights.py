"""A checkpoint folder: config.json, model.safetensors, statistics.json, tokenizer.json. Strict, no pickle."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .. import contract as contracts
from .. import stats
from . import config as configs
from . import tokenizer as tokenizers
from .vla import VLA

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything a policy needs, in memory.

    family: key of families.FAMILIES, which says what model, statistics and tokenizer are.
    settings: a frozen dataclass of the family's own; None if it has none.
    engine: the same calls as model, faster (models/engine); None: there is none for it, or it is switched off.
    """

    model: Any
    contract: contracts.Contract
    statistics: Any
    tokenizer: Any
    family: str = "tiny"
    settings: Any = None
    engine: Any = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write checkpoint into folder, which is made if need be; weights in float32."""
    folder.mkdir(parents=True, exist_ok=True)
    header = {
        "format": FORMAT,
        "model": configs.to_dict(checkpoint.model.config),
        "contract": contracts.to_dict(checkpoint.contract),
    }
    _write_json(folder / "config.json", header)
    _write_json(folder / "statistics.json", stats.to_dict(checkpoint.statistics))
    checkpoint.tokenizer.save(str(folder / "tokenizer.json"))
    tensors = {
        k: v.detach().float().cpu().contiguous() for k, v in checkpoint.model.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors")


def load(folder: Path, *, device: str = "cpu") -> Checkpoint:
    """Read a checkpoint folder onto device.

    Raises FileNotFoundError for a missing file, ValueError with a difference report for anything that does
    not fit: keys, shapes, format, statistics.
    """
    header = _read_json(folder / "config.json")
    if header.get("format") != FORMAT:
        raise ValueError(
            f"{folder}/config.json: format is {header.get('format')!r}, expected {FORMAT}"
        )
    for key in ("model", "contract"):
        if key not in header:
            raise ValueError(f"{folder}/config.json: missing {key}")
    config = configs.from_dict(header["model"])
    contract = contracts.from_dict(header["contract"])
    statistics = stats.from_dict(_read_json(folder / "statistics.json"))
    for what, names, wanted in (
        ("state", contract.state_names, statistics.state.names),
        ("actions", contract.model_action_names, statistics.actions.names),
    ):
        if names != wanted:
            raise ValueError(
                f"{folder}/statistics.json: {what} are of {wanted}, the contract has {names}"
            )
    with torch.device("meta"):
        model = VLA(config)
    tensors = _read_tensors(folder / "model.safetensors", device)
    _require_same_keys(folder, model, tensors)
    model.load_state_dict(tensors, strict=True, assign=True)
    _fill_buffers(model, config, device)
    return Checkpoint(
        model.eval(), contract, statistics, tokenizers.load(folder / "tokenizer.json")
    )


def _fill_buffers(model: VLA, config: configs.ModelConfig, device: str) -> None:
    """Buffers that are not saved are constants of the config; they are still on the meta device."""
    if any(b.is_meta for b in model.buffers()):
        for name, buffer in VLA(config).named_buffers():
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, buffer.to(device))


def _read_tensors(path: Path, device: str) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with safe_open(path, framework="pt", device=device) as file:
            return {key: file.get_tensor(key) for key in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file: {error}") from error


def _require_same_keys(folder: Path, model: VLA, tensors: dict[str, torch.Tensor]) -> None:
    expected = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    got = {k: tuple(v.shape) for k, v in tensors.items()}
    lines = [f"  missing    {k} {expected[k]}" for k in sorted(expected.keys() - got.keys())]
    lines += [f"  unexpected {k} {got[k]}" for k in sorted(got.keys() - expected.keys())]
    lines += [
        f"  shape      {k}: file {got[k]}, model {expected[k]}"
        for k in sorted(expected.keys() & got.keys())
        if got[k] != expected[k]
    ]
    lines += [
        f"  not finite {k}" for k, v in sorted(tensors.items()) if not torch.isfinite(v).all()
    ]
    if lines:
        shown = "\n".join(lines[:20]) + (
            f"\n  and {len(lines) - 20} more" if len(lines) > 20 else ""
        )
        raise ValueError(f"{folder}/model.safetensors does not fit config.json:\n{shown}")


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n")


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"not a checkpoint folder: no {path.name} in {path.parent}")
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error
