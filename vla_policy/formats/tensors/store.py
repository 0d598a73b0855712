"""All tensors of a checkpoint folder, in one file or in shards, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from vla_policy.formats.tensors.safetensors_file import TensorEntry, read_header, read_into
from vla_policy.parsing.files import one_line
from vla_policy.parsing.json_document import INDEX, WEIGHTS, read_json

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
REPORT_LINES = 20
MAX_SHARDS = 512


@dataclass(frozen=True, slots=True)
class Store:
    """Tensors by their name in the files. metadata: of all files together."""

    folder: Path
    entries: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]


def open_store(folder: Path) -> Store:
    """The tensors of folder: model.safetensors, or the shards that model.safetensors.index.json lists.

    Raises FileNotFoundError if there are none, ValueError for pickle files, a damaged file, or an
    index that contradicts the shards.
    """
    if (folder / INDEX).is_file():
        return _open_shards(folder)
    if (folder / WEIGHTS).is_file():
        entries, metadata = read_header(folder / WEIGHTS)
        return Store(folder, entries, metadata)
    pickles = sorted(p.name for pattern in PICKLES for p in folder.glob(pattern))
    if pickles:
        raise ValueError(pickle_refusal(folder, pickles[0]))
    raise FileNotFoundError(f"no weights in {folder}: neither {WEIGHTS} nor {INDEX}")


def pickle_refusal(folder: Path, name: str) -> str:
    """Why a pickle file is not opened, and the command that converts it."""
    return (
        f"{folder / name}: a pickle file can run code when it is opened; only safetensors are read. "
        'Convert it where that is safe: python -c "import torch, safetensors.torch as s; '
        f"w = torch.load('{name}', map_location='cpu', weights_only=True); "
        "s.save_file({k: v.contiguous() for k, v in w.get('state_dict', w).items()}, "
        f"'{WEIGHTS}')\""
    )


def fill(
    model: nn.Module,
    store: Store,
    names: Mapping[str, str],
    *,
    device: torch.device | str,
    dtype_of: Callable[[str, torch.dtype], torch.dtype],
) -> None:
    """Fill a model on the meta device with its weights, each read once into its final memory.

    names: key of the model -> name in the store; exactly the model's keys, shapes checked before.
    dtype_of: key of the model and dtype in the file -> dtype in memory.
    Raises ValueError naming the tensors that are not finite.
    """
    broken = []
    for key in model.state_dict():
        entry = store.entries[names[key]]
        tensor = torch.empty(entry.shape, dtype=dtype_of(key, entry.dtype), device=device)
        if not read_into(entry, tensor):
            broken.append(f"  not finite {names[key]} (in {entry.path.name})")
        owner_name, _, leaf = key.rpartition(".")
        owner = model.get_submodule(owner_name)
        if (empty := owner._parameters.get(leaf)) is not None:
            owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=empty.requires_grad)
        else:
            owner._buffers[leaf] = tensor
    if broken:
        raise ValueError(f"{store.folder}: weights that are not numbers:\n{_shorten(broken)}")


def require_same(
    store: Store, names: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]], unread: set[str]
) -> None:
    """Refuse a store that does not hold exactly the model's tensors, with a detailed report.

    names: key of the model -> name in the store. shapes: key of the model -> shape.
    unread: names in the store that are known and not needed.
    Raises ValueError listing missing, unexpected and wrongly shaped tensors.
    """
    wanted = {names[key]: shape for key, shape in shapes.items()}
    got = {name: entry.shape for name, entry in store.entries.items() if name not in unread}
    lines = [f"  missing    {k} {wanted[k]}" for k in sorted(wanted.keys() - got.keys())]
    lines += [f"  unexpected {k} {got[k]}" for k in sorted(got.keys() - wanted.keys())]
    lines += [
        f"  shape      {k}: file {got[k]}, model {wanted[k]}"
        for k in sorted(wanted.keys() & got.keys())
        if got[k] != wanted[k]
    ]
    if lines:
        raise ValueError(f"{store.folder}: the weights do not fit the model:\n{_shorten(lines)}")


def _shorten(lines: list[str]) -> str:
    more = len(lines) - REPORT_LINES
    return "\n".join(lines[:REPORT_LINES]) + (f"\n  and {more} more" if more > 0 else "")


def _open_shards(folder: Path) -> Store:
    path = folder / INDEX
    listed = read_json(path).get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(v, str) for v in listed.values()):
        raise ValueError(f"{path}: got no weight_map, expected tensor name -> file")
    shards = sorted(set(listed.values()))
    if len(shards) > MAX_SHARDS:
        raise ValueError(f"{path}: got {len(shards)} files, expected at most {MAX_SHARDS}")
    entries: dict[str, TensorEntry] = {}
    metadata: dict[str, str] = {}
    for shard in shards:
        if Path(shard).name != shard or not shard.isprintable():
            raise ValueError(
                f"{path}: got the file {one_line(repr(shard), 80)}, expected a name in the same folder"
            )
        if shard.endswith(tuple(p[1:] for p in PICKLES)):
            raise ValueError(pickle_refusal(folder, shard))
        found, more = read_header(folder / shard)
        entries |= found
        metadata |= more
        wrong = {name for name in found if listed.get(name) != shard}
        wrong |= {name for name, file in listed.items() if file == shard and name not in found}
        if wrong:
            raise ValueError(
                f"{path}: {len(wrong)} tensors are not where it says, the first is {min(wrong)} ({shard})"
            )
    return Store(folder, entries, metadata)
