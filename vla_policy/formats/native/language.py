"""The files about the sentences that a policy understands: language.json, naming.safetensors.

Older folders may lack both: then the policy reports that this is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families.language import FILE, Language, from_dict, to_dict
from vla_policy.formats.tensors.safetensors_file import read_header, tensor_bytes, write
from vla_policy.formats.tensors.store import Store, fill, require_same
from vla_policy.models.config import ModelConfig
from vla_policy.models.naming import Naming, NamingConfig
from vla_policy.parsing.json_document import read_json, write_json

NAMING = "naming.safetensors"


def read_language(folder: Path, robots: tuple[str, ...]) -> Language | None:
    """The language of the first of robots; a single one applies to any robot (native/robots.py).

    Raises ValueError for an invalid file.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    data = read_json(path)
    name = next(iter(data)) if len(data) == 1 else robots[0]
    if name not in data:
        raise ValueError(f"{path}: for {', '.join(data) or 'no robot'}, expected {name}")
    try:
        return from_dict(data[name])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_naming(folder: Path, sizes: ModelConfig, device: str) -> Naming | None:
    """Raises ValueError unless the tensors are the head's, with or without its second pass."""
    path = folder / NAMING
    if not path.is_file():
        return None
    store = Store(folder, *read_header(path))
    closer = any(name.startswith("closer.") for name in store.entries)
    classes = {
        f"{kind}s": store.entries[f"{kind}.bias"].shape[0] - 1  # the last one is background
        for kind in ("colour", "shape")
        if f"{kind}.bias" in store.entries
    }
    naming = Naming(NamingConfig(sizes.pointing.channels[2], closer=closer, **classes))
    shapes = {key: tuple(value.shape) for key, value in naming.state_dict().items()}
    names = {key: key for key in shapes}
    require_same(store, names, shapes, set())
    fill(naming, store, names, device=device, dtype_of=lambda key, own: own)
    return naming.eval()


def write_said(folder: Path, checkpoints: Iterable[Checkpoint]) -> None:
    """Write both files, if present, for checkpoints of one network."""
    checkpoints = tuple(checkpoints)
    said: dict[str, Any] = {
        robot: to_dict(c.language)
        for c in checkpoints
        if c.language is not None
        for robot in c.contract.embodiments
    }
    if said:
        write_json(folder / FILE, said)
    naming = next((c.naming for c in checkpoints if c.naming is not None), None)
    if naming is not None:
        write_naming(folder, naming)


def write_naming(folder: Path, naming: Naming) -> None:
    """The weights of the head."""
    tensors = naming.state_dict()
    write(
        folder / NAMING,
        {key: (value.dtype, tuple(value.shape)) for key, value in tensors.items()},
        (tensor_bytes(value) for value in tensors.values()),
    )
