"""The folder of a run. However the process ends, a file or folder with its final name is complete.

run.yaml                the run, every key
log.jsonl curves.png    one line every `log_every` steps, and their plot
checkpoints/000500/     a folder that load_policy loads, after 500 steps
checkpoint              a link to the best of them if measured, else to the newest
state/000500/           beside the newest checkpoint: optimiser state, for resuming

A folder is written under a name that starts with a dot and ends with .partial, flushed to disk and
renamed; a folder to be removed is renamed first. The state is written last: if it exists, so does
its checkpoint.
"""

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from vla_policy.data.lerobot.durable import (
    NO_ROOM,
    DiskFull,
    lock_folder,
    replace_file,
    sync_all,
    sync_folder,
)
from vla_policy.train.run import Run, differences
from vla_policy.train.run_file import read_run, run_data, run_text

CHECKPOINTS, STATE, LATEST, PARTIAL = "checkpoints", "state", "checkpoint", ".partial"


def open_folder(out: Path, run: Run) -> IO[str]:
    """Create the folder of run, or continue in it; locked until the returned file is closed.

    Raises ValueError for the folder of another run, Busy while another process trains in it.
    """
    written = out / "run.yaml"
    if written.is_file():
        if other := differences(run_data(run), run_data(read_run(written))):
            raise ValueError(
                f"{out}: got the folder of another run, expected a new folder or the same run: {'; '.join(other)}"
            )
    elif out.is_dir() and any(out.iterdir()):
        raise ValueError(
            f"{out}: got a folder with other files, expected a new one or that of a run"
        )
    lock = lock_folder(out / ".lock")
    if not written.is_file():
        replace_file(written, run_text(run).encode())
    for left in (*out.glob(f"{CHECKPOINTS}/.*{PARTIAL}"), *out.glob(f"{STATE}/.*{PARTIAL}")):
        shutil.rmtree(left)
    return lock


def steps_in(out: Path, kind: str) -> list[int]:
    """The steps that have a complete checkpoint or state, in order."""
    return sorted(int(p.name) for p in (out / kind).glob("[0-9]*") if p.name.isdigit())


def folder_of(out: Path, kind: str, step: int) -> Path:
    return out / kind / f"{step:06d}"


def write_whole(final: Path, write: Callable[[Path], None]) -> None:
    """Let write fill a folder, then rename it to final.

    Raises DiskFull, leaving nothing incomplete.
    """
    partial = _partial(final)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        write(partial)
        sync_all([p for p in partial.rglob("*") if p.is_file()])
        sync_folder(partial)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, DiskFull) or error.errno in NO_ROOM:
            raise DiskFull(
                f"{final}: no room on the disk; nothing of it was left half written"
            ) from error
        raise
    remove([final])
    partial.rename(final)
    sync_folder(final.parent)


def point_at(out: Path, step: int) -> None:
    """Link OUT/checkpoint to the checkpoint after step, atomically."""
    link = out / f".{LATEST}{PARTIAL}"
    link.unlink(missing_ok=True)
    link.symlink_to(folder_of(Path(), CHECKPOINTS, step))
    os.replace(link, out / LATEST)


def remove(folders: Iterable[Path]) -> None:
    """Remove folders so that no reader sees one with only some of its files."""
    for folder in folders:
        if folder.is_dir():
            partial = _partial(folder).with_suffix(f".old{PARTIAL}")
            shutil.rmtree(partial, ignore_errors=True)
            folder.rename(partial)
            shutil.rmtree(partial)


def to_keep(steps: Iterable[int], measured: dict[int, float], keep: int) -> set[int]:
    """The newest, and the `keep` best measured ones (lower is better); else the `keep` newest."""
    there = sorted(steps)
    ranked = sorted((s for s in there if s in measured), key=lambda s: (measured[s], -s))
    return {*there[-1:], *(ranked or there[::-1])[:keep]}


def _partial(final: Path) -> Path:
    return final.with_name(f".{final.name}{PARTIAL}")
