"""Tensor names in other projects' folders and here, and sizes derived from their shapes.

What pi0's and SmolVLA's folders have in common; the names themselves are in pi0_names and smolvla_names.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vla_policy.formats.fit import Heads
from vla_policy.formats.tensors.store import Store

# Pairs (theirs, ours) of name prefixes, used in both directions; the first match counts.
Stems = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Named:
    """Mapping between a store's tensors and a model's.

    names: key of the model -> name in the store. unread: names that no model needs.
    """

    names: Mapping[str, str]
    unread: frozenset[str]


@dataclass(frozen=True, slots=True)
class Shapes:
    """Shapes by key of the model. called: a key's name in such files, for messages."""

    store: Store
    shapes: Mapping[str, tuple[int, ...]]
    called: Callable[[str], str]

    def __getitem__(self, key: str) -> tuple[int, ...]:
        """Raises ValueError if there is no such tensor."""
        if key not in self.shapes:
            raise ValueError(f"{self.store.folder}: the weights have no {self.called(key)}")
        return self.shapes[key]

    def __contains__(self, key: str) -> bool:
        return key in self.shapes

    def depth(self, stem: str) -> int:
        """Number of layers under stem. Raises ValueError unless they are 0, 1, 2, ..."""
        found = {int(k[len(stem) :].split(".")[0]) for k in self.shapes if k.startswith(stem)}
        if found != set(range(len(found))) or not found:
            raise ValueError(
                f"{self.store.folder}: {self.called(stem)}: got layers {sorted(found)}, expected 0, 1, 2, ..."
            )
        return len(found)


@dataclass(frozen=True, slots=True)
class TensorNaming:
    """Naming of a model's tensors in another project.

    stems: see Stems. prefixes: optional prefixes of a name, each removed once, in order. older:
    pairs of name prefixes (older layout, canonical layout), applied one after another.
    """

    stems: Stems
    prefixes: tuple[str, ...]
    older: Stems = ()

    def canonical(self, name: str) -> str:
        """The name without prefixes, in the newest layout."""
        for prefix in self.prefixes:
            name = name.removeprefix(prefix)
        for older, newer in self.older:
            if name.startswith(older):
                name = newer + name[len(older) :]
        return name

    def ours(self, name: str) -> str:
        """Key of this project's model for a canonical name; unknown names stay as they are."""
        for theirs, mine in self.stems:
            if name.startswith(theirs):
                name = mine + name[len(theirs) :]
                break
        return re.sub(r"^(vision\.layers\.\d+)\.mlp\.fc", r"\1.fc", name)

    def theirs(self, key: str) -> str:
        """Inverse of ours: the canonical name of a key of the model."""
        key = re.sub(r"^(vision\.layers\.\d+)\.fc", r"\1.mlp.fc", key)
        for theirs, mine in self.stems:
            if key.startswith(mine):
                return theirs + key[len(mine) :]
        return key


def shapes_of(store: Store, named: Named, called: Callable[[str], str]) -> Shapes:
    """The shapes of the tensors in named."""
    found = {key: store.entries[name].shape for key, name in named.names.items()}
    return Shapes(store, found, called)


def require_heads(store: Store, heads: Heads, q: int, k: int) -> None:
    """Raises ValueError unless heads divide q_proj's q and k_proj's k rows into heads of one width."""
    if q % heads.language or k % heads.kv or q // heads.language != k // heads.kv:
        raise ValueError(
            f"{store.folder}: {heads.language} query and {heads.kv} key heads do not fit q_proj with {q} "
            f"and k_proj with {k} rows; say the real numbers as `heads` in the policy file"
        )
