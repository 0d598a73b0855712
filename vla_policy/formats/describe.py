"""Describe a checkpoint folder as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from vla_policy.checkpoint.contract import Contract
from vla_policy.checkpoint.normalization import NEEDS, Normalizer
from vla_policy.checkpoint.statistics import RangeNormalizer
from vla_policy.families import FAMILIES
from vla_policy.formats.conversion.portable import Portable
from vla_policy.formats.fit import COMPATIBILITY, Heads, PolicyFile
from vla_policy.formats.foreign.common import Feature, Foreign
from vla_policy.formats.format import Format
from vla_policy.formats.kinds import FORMATS, OWN
from vla_policy.formats.load import kind_of, load_checkpoint
from vla_policy.formats.native import folder as vla
from vla_policy.formats.tensors.store import Store, open_store
from vla_policy.models.blank import without_weights
from vla_policy.models.config import ModelConfig
from vla_policy.models.vla import VLA


def describe(path: Path, folder: Path, file: PolicyFile | None, heads: Heads | None) -> list[str]:
    """The description as lines of text.

    Raises ValueError or FileNotFoundError for a bad folder.
    """
    kind = kind_of(folder)
    if kind == OWN:
        return _describe_own(folder)
    form = FORMATS[kind]
    if form.portable is None:
        return _describe_other(path, folder, file, form)
    portable = form.portable(folder, file, heads)
    return _describe_foreign(portable, folder, kind)


def skeleton(folder: Path) -> str:
    """The start of a policy file for folder."""
    kind = kind_of(folder)
    if kind == OWN:
        raise ValueError(f"{folder}: a folder of this project needs no policy file")
    return FORMATS[kind].skeleton(folder)


def _width(feature: Feature) -> int:
    return len(next(iter(feature.statistics.values()), ()))


def _describe_own(folder: Path) -> list[str]:
    headers = vla.read_headers(folder)
    header = next(iter(headers.values()))
    with without_weights():
        network = FAMILIES[header.family].network(header.sizes)
    lines = [f"{folder}: {header.family}, a folder of this project"]
    lines += _weights(open_store(folder), network)
    lines += _sizes(header.sizes)
    for header in headers.values():
        lines += _contract(header.contract)
        for what in ("state", "actions"):
            found = getattr(header.statistics, what, None)
            if found is not None:
                lines += _statistics(what, found)
    return lines


def _describe_foreign(portable: Portable, folder: Path, kind: str) -> list[str]:
    foreign: Foreign = portable.foreign
    with without_weights():
        network = VLA(foreign.config)
    lines = [f"{folder}: {foreign.config.name}, a folder of {kind}"]
    lines += _weights(foreign.store, network) + _sizes(foreign.config)
    lines.append(f"  cameras it knows: {', '.join(foreign.slots)}")
    if portable.header is None:
        for what, feature in (("state", foreign.state), ("actions", foreign.actions)):
            names = tuple(f"column {i}" for i in range(_width(feature)))
            lines += _statistics(what, Normalizer(
                feature.found, names, feature.mode, feature.statistics, constant=names
            ))  # fmt: skip
        lines.append(
            "  not said: which robot cameras, state and commands these are, and at what rate"
        )
        lines.append(
            f"  to run it, write a policy file: vla inspect {folder} --policy-file --robot ROBOT > my_policy.yaml"
        )
    else:
        lines += _contract(portable.header.contract)
        lines += _statistics("state", portable.header.statistics.state)
        lines += _statistics("actions", portable.header.statistics.actions)
    lines.append(f"  tokenizer: {portable.tokenizer or 'none; PaliGemma’s has to be named'}")
    return lines


def _describe_other(path: Path, folder: Path, file: PolicyFile | None, form: Format) -> list[str]:
    lines = [f"{folder}: a folder of {form.name}"]
    if file is None:
        lines += form.remarks(folder)
        lines.append(
            f"  to run it, write a policy file: vla inspect {folder} --policy-file --robot ROBOT > my_policy.yaml"
        )
        return lines
    checkpoint = load_checkpoint(path, device="cpu")
    lines += _weights(open_store(folder), checkpoint.model) + _contract(checkpoint.contract)
    for what in ("state", "actions"):
        found = getattr(checkpoint.statistics, what, None)
        if found is not None:
            lines += _statistics(what, found)
    for switch in file.compatibility:
        lines.append(f"  switch {switch}: {COMPATIBILITY[switch]}")
    return lines


def _weights(store: Store, network: nn.Module) -> list[str]:
    count = sum(p.numel() for p in network.parameters())
    size = sum(e.stop - e.start for e in store.entries.values())
    kinds = sorted({str(e.dtype).removeprefix("torch.") for e in store.entries.values()})
    files = len({e.path for e in store.entries.values()})
    return [
        f"  {count:,} parameters; {files} file{'s' if files > 1 else ''}, {size / 1e9:.3g} GB, "
        f"{' and '.join(kinds)}"
    ]


def _sizes(sizes: Any) -> list[str]:
    if not isinstance(sizes, ModelConfig):
        return []
    heads = [
        f"flow ({sizes.flow.rows} rows, {sizes.flow.steps} steps)" if sizes.flow else "",
        f"tokens ({sizes.token.rows} rows, {sizes.token.bins} bins)" if sizes.token else "",
    ]
    return [
        f"  images {sizes.vision.image_px} px, prompt up to {sizes.max_text} tokens of {sizes.vocab:,}, "
        f"state {sizes.state_dim} and actions {sizes.action_dim} wide with padding",
        f"  heads: {', '.join(h for h in heads if h)}",
    ]  # fmt: skip


def _contract(contract: Contract) -> list[str]:
    spaces = ", ".join(f"{group} in {space}" for group, space in contract.spaces)
    return [
        f"  for {', '.join(contract.embodiments)} at {contract.policy_hz:g} Hz",
        f"  sees {', '.join(contract.camera_names)} and {', '.join(contract.state_names)}",
        f"  commands {', '.join(contract.action_names)} ({spaces})",
    ]


def _statistics(what: str, found: Normalizer | RangeNormalizer) -> list[str]:
    if isinstance(found, RangeNormalizer):
        columns: Mapping[str, Any] = {"low": found.lower, "high": found.upper}
        title = f"  {what} between its ends"
    else:
        columns = {k: found.statistics[k] for k in NEEDS[found.mode]}
        title = f"  {what} by {found.mode.replace('_', ' ')}"
    wide = max(18, *(len(name) + 1 for name in found.names))
    rows = [
        f"    {name:<{wide}}"
        + "  ".join(f"{key} {values[i]:>10.4g}" for key, values in columns.items())
        for i, name in enumerate(found.names)
    ]
    return [title, *(rows if columns else [])]
