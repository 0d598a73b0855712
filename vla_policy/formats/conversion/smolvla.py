"""SmolVLA folders of lerobot and of this project, converted into each other bit for bit."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from vla_policy.formats.fit import PolicyFile
from vla_policy.formats.foreign import smolvla
from vla_policy.formats.native import folder as vla
from vla_policy.formats.tensors import smolvla_names
from vla_policy.formats.tensors.safetensors_file import TensorEntry, chunks, read_header, write
from vla_policy.formats.tensors.store import Store, open_store, require_same
from vla_policy.models.blank import without_weights
from vla_policy.models.smolvla import SmolVla, SmolVlaConfig
from vla_policy.models.text import find_tokenizer
from vla_policy.parsing.json_document import INDEX, WEIGHTS

PREFIX = "model."
SOURCE, UNREAD_FILE = Path("source") / "lerobot", "unread.safetensors"


def from_lerobot(
    folder: Path, file: PolicyFile | None, destination: Path, to: str, *, keep_unread: bool
) -> bool:
    """Format.rewrite of lerobot's folders."""
    if to != "vla" or file is None:
        raise _other_way(folder, "smolvla", to)
    return to_vla(folder, file, destination, keep_unread=keep_unread)


def from_own(
    folder: Path, file: PolicyFile | None, destination: Path, to: str, *, keep_unread: bool
) -> bool:
    """Format.rewrite_own: of a folder of this project."""
    if to != "lerobot":
        raise _other_way(folder, "vla", to)
    to_lerobot(folder, destination, keep_unread=keep_unread)
    return True


def _other_way(folder: Path, kind: str, to: str) -> ValueError:
    return ValueError(
        f"{folder}: a SmolVLA of lerobot can be converted to vla, from a policy file (.yaml) that names it, "
        f"and one of this project to lerobot; asked for was {kind} to {to}"
    )


def to_vla(folder: Path, file: PolicyFile, destination: Path, *, keep_unread: bool = True) -> bool:
    """Write the lerobot folder, with its policy file, to destination.

    Returns whether it has a tokenizer.
    keep_unread: also keep the language model's output layer, which no model reads.
    Raises ValueError or FileNotFoundError for files that do not match.
    """
    found = smolvla.read_folder(folder, file)
    shapes = _model_shapes(found.header.sizes)
    names = {key: found.named.names.get(key) or smolvla_names.NAMING.theirs(key) for key in shapes}
    require_same(found.store, names, shapes, set(found.named.unread))
    entries = {key: found.store.entries[name] for key, name in names.items()}
    vla.write_folder(
        destination, found.header, _shapes(entries), (chunks(e) for e in entries.values())
    )
    unread = {n: found.store.entries[n] for n in found.named.unread}
    if keep_unread and unread:
        unread = {smolvla_names.NAMING.canonical(name): entry for name, entry in unread.items()}
        write(destination / UNREAD_FILE, _shapes(unread), (chunks(e) for e in unread.values()))
    tokenizer = find_tokenizer(folder)
    kept = destination / SOURCE
    kept.mkdir(parents=True)
    for path in (*sorted(folder.glob("*.json")), *sorted(folder.glob("policy_*.safetensors"))):
        if path.name != INDEX and path != tokenizer:
            shutil.copyfile(path, kept / path.name)
    tokenizer = file.tokenizer or tokenizer
    if tokenizer is not None:
        vla.copy_tokenizer(tokenizer, destination)
    return tokenizer is not None


def to_lerobot(folder: Path, destination: Path, *, keep_unread: bool = True) -> None:
    """Write a folder of this project that came from lerobot as lerobot had it, without a tokenizer.

    Raises ValueError if it did not come from lerobot, or for weights that do not match.
    """
    if not (folder / SOURCE / "config.json").is_file():
        raise ValueError(
            f"{folder}: a SmolVLA is written for lerobot only if it came from there: no {SOURCE}/config.json"
        )
    header, store = vla.read_header(folder), open_store(folder)
    shapes = _model_shapes(header.sizes)
    require_same(store, {key: key for key in shapes}, shapes, set())
    entries = _with_unread(folder, store, keep_unread)
    destination.mkdir(parents=True, exist_ok=True)
    write(
        destination / WEIGHTS,
        {PREFIX + name: shape for name, shape in _shapes(entries).items()},
        (chunks(e) for e in entries.values()),
    )
    for path in sorted((folder / SOURCE).iterdir()):
        shutil.copyfile(path, destination / path.name)


def _with_unread(folder: Path, store: Store, keep_unread: bool) -> dict[str, TensorEntry]:
    """Canonical lerobot name -> tensor."""
    entries = {smolvla_names.NAMING.theirs(key): entry for key, entry in store.entries.items()}
    if keep_unread and (folder / UNREAD_FILE).is_file():
        entries |= read_header(folder / UNREAD_FILE)[0]
    return entries


def _model_shapes(sizes: SmolVlaConfig) -> dict[str, tuple[int, ...]]:
    with without_weights():
        model = SmolVla(sizes)
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def _shapes(entries: Mapping[str, TensorEntry]) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    return {name: (e.dtype, e.shape) for name, e in entries.items()}
