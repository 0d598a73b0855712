"""Convert a checkpoint folder to another project's form, every weight bit for bit.

SRC is a folder, or a policy file (.yaml) that names one and says how it fits a robot; `--to vla` needs the policy
file. The small files of the source are kept in DST/source, so that converting back gives them as they were.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from vla_policy.formats.conversion.portable import Portable, read_vla
from vla_policy.formats.conversion.write import write_vla
from vla_policy.formats.fit import PolicyFile
from vla_policy.formats.kinds import FORMATS, OWN
from vla_policy.formats.load import kind_of, load_checkpoint
from vla_policy.formats.native.folder import save
from vla_policy.formats.policy_file import read_policy_file
from vla_policy.parsing.json_document import read_json


def convert(source: Path, destination: Path, to: str, *, keep_unread: bool = True) -> list[str]:
    """Write source as a folder of kind to; returns lines for the user.

    The folder is written under a temporary name and renamed once complete.
    Raises ValueError or FileNotFoundError if source is incomplete or inconsistent.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ValueError(f"{destination}: is there already and not empty")
    file = read_policy_file(source) if source.suffix in (".yaml", ".yml") else None
    folder = source if file is None else file.checkpoint
    kind = kind_of(folder)
    part = destination.with_name(destination.name + ".part")
    if part.exists():
        shutil.rmtree(part)
    form = None if kind == OWN else FORMATS[kind]
    rewrite = _rewrite_of_own(folder) if form is None else form.rewrite
    if rewrite is not None:
        has_tokenizer = rewrite(folder, file, part, to, keep_unread=keep_unread)
    elif form is None:
        has_tokenizer = _write(read_vla(folder), part, to, keep_unread)
    elif form.portable is not None:
        has_tokenizer = _write(form.portable(folder, file, None), part, to, keep_unread)
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


def writers() -> dict[str, Callable[..., None]]:
    """Kind of folder -> the function that writes a Portable as one."""
    others = {n: form.write for n, form in FORMATS.items() if form.write is not None}
    return {OWN: write_vla, **others}


def _write(portable: Portable, folder: Path, to: str, keep_unread: bool) -> bool:
    """Write a folder of kind to. Returns whether it has all the tokenizer files it needs."""
    writers()[to](folder, portable, keep_unread=keep_unread)
    return to != OWN or portable.tokenizer is not None


def _rewrite_of_own(folder: Path) -> Callable[..., bool] | None:
    """The conversion that its family has for itself; None: it is written as any other."""
    family = str(read_json(folder / "config.json").get("family"))
    found = (form.rewrite_own.get(family) for form in FORMATS.values())
    return next((rewrite for rewrite in found if rewrite is not None), None)


def _convert_by_loading(
    source: Path, file: PolicyFile | None, destination: Path, to: str, kind: str
) -> None:
    """Convert, by loading and saving, kinds whose weights need more than new names."""
    if to != "vla" or file is None:
        raise ValueError(
            f"{source}: only pi0 and pi0.5 are written for other projects; this {kind} checkpoint can be converted "
            "to vla, from a policy file (.yaml) that names it"
        )
    save(destination, load_checkpoint(source, device="cpu"))
