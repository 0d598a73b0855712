"""Weights of a Hugging Face folder: one safetensors file, or several with an index."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHOWN = 20  # lines of a difference report


def read_json(path: Path) -> dict[str, Any]:
    """Raises FileNotFoundError or ValueError with the path."""
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}")
    try:
        data = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: got {type(data).__name__}, expected a mapping")
    return data


def read(
    folder: Path, rename: Callable[[str], str | None], *, device: str = "cpu"
) -> dict[str, Tensor]:
    """All tensors of folder by their new names; a key that rename makes None is not read.

    Raises FileNotFoundError for missing files, ValueError for a broken or incomplete one, or for two keys that
    become one name.
    """
    tensors: dict[str, Tensor] = {}
    for path in files(folder):
        try:
            with safe_open(path, framework="pt", device=device) as file:
                for key in file.keys():
                    if (name := rename(key)) is None:
                        continue
                    if name in tensors:
                        raise ValueError(f"{path}: {key} is a second {name}")
                    tensors[name] = file.get_tensor(key)
        except SafetensorError as error:
            raise ValueError(f"{path}: not a readable safetensors file: {error}") from error
    return tensors


def files(folder: Path) -> list[Path]:
    """The safetensors files of folder. Raises FileNotFoundError naming those that are missing."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        pickles = sorted(p.name for p in folder.glob("*.bin")) + sorted(
            p.name for p in folder.glob("*.pt")
        )
        also = f"; {', '.join(pickles)} is pickled and is not read: save it as safetensors" * bool(
            pickles
        )
        raise FileNotFoundError(f"{folder}: neither {SINGLE} nor {INDEX}{also}")
    names = sorted(set(read_json(folder / INDEX).get("weight_map", {}).values()))
    if missing := [n for n in names if not (folder / n).is_file()]:
        raise FileNotFoundError(f"{folder}: {INDEX} lists {', '.join(missing)}, not there")
    return [folder / n for n in names]


def assign(model: nn.Module, tensors: dict[str, Tensor], where: Path) -> nn.Module:
    """Put tensors into a model that is on the meta device, without a copy; the model in eval mode.

    Raises ValueError with a difference report for missing, unexpected, wrongly shaped or non-finite tensors.
    """
    expected = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    got = {k: tuple(v.shape) for k, v in tensors.items()}
    lines = [f"  missing    {k} {expected[k]}" for k in sorted(expected.keys() - got.keys())]
    lines += [f"  unexpected {k} {got[k]}" for k in sorted(got.keys() - expected.keys())]
    lines += [
        f"  shape      {k}: file {got[k]}, model {expected[k]}"
        for k in sorted(expected.keys() & got.keys())
        if got[k] != expected[k]
    ]
    lines += [f"  not finite {k}" for k, v in sorted(tensors.items()) if not v.isfinite().all()]
    if lines:
        more = f"\n  and {len(lines) - SHOWN} more" * (len(lines) > SHOWN)
        raise ValueError(f"{where} does not fit its model:\n" + "\n".join(lines[:SHOWN]) + more)
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.eval()


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """The model without memory for its weights."""
    with torch.device("meta"):
        return build()
