"""Convert a checkpoint folder to another project's form, every weight bit for bit.

SRC is a folder, or a policy file (.yaml) that names one and says how it fits a robot; `--to vla` needs the policy
file. The small files of the source are kept in DST/source, so that converting back gives them as they were.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from vla_policy.formats.conversion import smolvla
from vla_policy.formats.conversion.portable import READERS
from vla_policy.formats.conversion.write import WRITERS
from vla_policy.formats.load import kind_of, load_checkpoint
from vla_policy.formats.native.folder import save
from vla_policy.formats.policy_file import PolicyFile, read_policy_file
from vla_policy.parsing.json_document import read_json


def convert(source: Path, destination: Path, to: str, *, keep_unread: bool = True) -> list[str]:
    """Write source as a folder of kind to; the lines to tell a person.

    It is made under another name and renamed when it is whole.
    Raises ValueError or FileNotFoundError if source does not hold what it should.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ValueError(f"{destination}: is there already and not empty")
    file = read_policy_file(source) if source.suffix in (".yaml", ".yml") else None
    folder = source if file is None else file.checkpoint
    kind = kind_of(folder)
    part = destination.with_name(destination.name + ".part")
    if part.exists():
        shutil.rmtree(part)
    if _is_smolvla(folder, kind):
        has_tokenizer = _convert_smolvla(file, folder, part, (kind, to), keep_unread)
    elif kind in READERS:
        portable = READERS[kind](folder, file)
        WRITERS[to](part, portable, keep_unread=keep_unread)
        has_tokenizer = to != "vla" or portable.tokenizer is not None
    else:
        _convert_by_loading(source, file, part, to, kind)
        has_tokenizer = True
    if destination.exists():
        destination.rmdir()
    part.rename(destination)
    lines = [f"{destination}: written as a {to} folder from {folder} ({kind})"]
    if not has_tokenizer:
        lines.append(
            "no tokenizer was found: put tokenizer.model or tokenizer.json into it before it is loaded"
        )
    return lines


def _is_smolvla(folder: Path, kind: str) -> bool:
    own = kind == "vla" and read_json(folder / "config.json").get("family") == "smolvla"
    return kind == "smolvla" or own


def _convert_smolvla(
    file: PolicyFile | None,
    folder: Path,
    destination: Path,
    way: tuple[str, str],
    keep_unread: bool,
) -> bool:
    """Returns whether the result has the tokenizer that it needs. way: from which kind to which."""
    if way == ("vla", "lerobot"):
        smolvla.to_lerobot(folder, destination, keep_unread=keep_unread)
        return True
    if way != ("smolvla", "vla") or file is None:
        raise ValueError(
            f"{folder}: a SmolVLA of lerobot can be converted to vla, from a policy file (.yaml) that names it, "
            f"and one of this project to lerobot; asked for was {way[0]} to {way[1]}"
        )
    return smolvla.to_vla(folder, file, destination, keep_unread=keep_unread)


def _convert_by_loading(
    source: Path, file: PolicyFile | None, destination: Path, to: str, kind: str
) -> None:
    """Kinds whose weights are not only renamed: loaded and saved."""
    if to != "vla" or file is None:
        raise ValueError(
            f"{source}: only pi0 and pi0.5 are written for other projects; this {kind} checkpoint can be converted "
            "to vla, from a policy file (.yaml) that names it"
        )
    save(destination, load_checkpoint(source, device="cpu"))
