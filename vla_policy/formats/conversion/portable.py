"""A pi0 or pi0.5 folder of any of the three kinds, to be written as another.

Weights stay on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vla_policy.checkpoint.normalization import Normalizer
from vla_policy.formats.fit import Heads, PolicyFile
from vla_policy.formats.foreign import lerobot, openpi
from vla_policy.formats.foreign.common import Feature, Foreign, describe
from vla_policy.formats.foreign.lerobot_config import PREPROCESSOR
from vla_policy.formats.native import folder as vla
from vla_policy.formats.tensors.naming import Named
from vla_policy.formats.tensors.pi0_names import EMBEDDING, NAMING, TIED, UNREAD
from vla_policy.formats.tensors.safetensors_file import TensorEntry, read_header
from vla_policy.formats.tensors.store import Store, open_store, require_same
from vla_policy.models.blank import without_weights
from vla_policy.models.text import SUBFOLDER, find_tokenizer
from vla_policy.models.vla import VLA

UNREAD_FILE = "unread.safetensors"
SOURCE = "source"


@dataclass(frozen=True, slots=True)
class Portable:
    """header: None without a policy file, which describes how the folder fits a robot.

    origin: the kind of folder that documents (name -> small file) come from. tokenizer: may be
    None.
    """

    foreign: Foreign
    header: vla.Header | None
    origin: str | None
    documents: Mapping[str, Path]
    tokenizer: Path | None


def read_lerobot(folder: Path, file: PolicyFile | None, heads: Heads | None = None) -> Portable:
    """heads: used if no policy file gives them. Raises ValueError or FileNotFoundError."""
    foreign = lerobot.read_folder(
        folder,
        heads=heads if file is None else file.heads,
        statistics=None if file is None else file.statistics,
    )
    names = [
        p.name for p in sorted(folder.glob("*.json")) if p.name != "model.safetensors.index.json"
    ]
    names += [p.name for p in sorted(folder.glob("policy_*.safetensors"))]
    names += [f"{SUBFOLDER}/{p.name}" for p in sorted((folder / SUBFOLDER).glob("*"))]
    # Older folders have their statistics among the weights: the small files are written anew.
    origin = "lerobot" if PREPROCESSOR in names else None
    documents = {name: folder / name for name in names} if origin else {}
    return _portable(foreign, file, origin, documents)


def read_openpi(folder: Path, file: PolicyFile | None, heads: Heads | None = None) -> Portable:
    """heads: used if no policy file gives them. Raises ValueError or FileNotFoundError."""
    foreign = openpi.read_folder(
        folder,
        heads=heads if file is None else file.heads,
        asset=None if file is None else file.statistics,
        rows=None if file is None else file.rows,
    )
    paths = [*folder.glob("*.json"), *openpi.assets(folder).values()]
    documents = {
        str(p.relative_to(folder)): p for p in paths if p.name != "model.safetensors.index.json"
    }
    return _portable(foreign, file, "openpi", documents)


def read_vla(folder: Path, file: PolicyFile | None = None, heads: Heads | None = None) -> Portable:
    """A folder of this project. Raises ValueError if it is of another family than pi0."""
    header = vla.read_header(folder)
    if header.family != "pi0":
        raise ValueError(
            f"{folder}: a {header.family} model; only pi0 and pi0.5 are written for other projects"
        )
    store = open_store(folder)
    unread: dict[str, TensorEntry] = {}
    if (folder / UNREAD_FILE).is_file():
        unread, _ = read_header(folder / UNREAD_FILE)
    named = Named({key: key for key in store.entries}, frozenset(unread))
    foreign = Foreign(
        store=Store(folder, {**store.entries, **unread}, store.metadata),
        named=named,
        config=header.sizes,
        state=_feature(header.statistics.state, folder),
        actions=_feature(header.statistics.actions, folder),
        slots=header.settings.slots,
        state_width=len(header.contract.state_names),
        action_width=len(header.contract.action_names),
        prompt_as_given=header.settings.prompt_as_given,
        antialias=header.settings.antialias,
        corner=header.settings.corner,
    )
    origins = sorted(p.name for p in (folder / SOURCE).glob("*") if p.is_dir())
    origin = origins[0] if origins else None
    root = folder / SOURCE / (origin or "")
    documents = (
        {str(p.relative_to(root)): p for p in root.rglob("*") if p.is_file()} if origin else {}
    )
    return Portable(foreign, header, origin, documents, find_tokenizer(folder))


def require_complete(foreign: Foreign) -> None:
    """Raises ValueError with a report unless the tensors are exactly those of the model."""
    with without_weights():
        model = VLA(foreign.config)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    names = {key: foreign.named.names.get(key) or NAMING.theirs(key) for key in shapes}
    require_same(foreign.store, names, shapes, set(foreign.named.unread))


def stored(foreign: Foreign) -> dict[str, TensorEntry]:
    """Canonical name -> tensor, in the other project's naming, with unread ones it expects."""
    entries, named = foreign.store.entries, foreign.named
    found = {NAMING.theirs(key): entries[name] for key, name in named.names.items()}
    unread = {NAMING.canonical(name): entries[name] for name in named.unread}
    if EMBEDDING in unread:  # a separate output embedding beside the one that is read
        found[TIED] = found.pop(EMBEDDING)
    return found | {name: unread[name] for name in (EMBEDDING, UNREAD) if name in unread}


def tied_expert_head(foreign: Foreign) -> tuple[torch.dtype, tuple[int, int]]:
    """Dtype and shape of the expert's unread output, which the other projects' loaders expect."""
    embedding = foreign.store.entries[foreign.named.names["embed_tokens.weight"]]
    return embedding.dtype, (embedding.shape[0], foreign.config.flow_head.expert.width)


def _portable(
    foreign: Foreign, file: PolicyFile | None, origin: str | None, documents: Mapping[str, Path]
) -> Portable:
    tokenizer = find_tokenizer(foreign.store.folder)
    documents = {
        name: path
        for name, path in documents.items()
        if path != tokenizer or tokenizer.parent.name == SUBFOLDER
    }
    if file is None:
        return Portable(foreign, None, origin, documents, tokenizer)
    said = describe(foreign, file)
    header = vla.Header("pi0", foreign.config, said.contract, said.settings, said.statistics)
    foreign = replace(
        foreign,
        state_width=len(said.contract.state_names),
        action_width=len(said.contract.action_names),
    )
    return Portable(foreign, header, origin, documents, file.tokenizer or tokenizer)


def _feature(normaliser: Normalizer, folder: Path) -> Feature:
    return Feature(
        normaliser.mode,
        normaliser.statistics,
        normaliser.eps,
        normaliser.eps_inverse,
        f"{folder}/statistics.json: {normaliser.what}",
    )
