"""Files that are complete or absent, even after a power failure; a full disk as one sentence."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFull(OSError):
    """The disk is full; data saved before is untouched."""


class Busy(OSError):
    """Another process writes in the same folder."""


def replace_file(path: Path, data: bytes) -> None:
    """Replace path by data atomically. Raises DiskFull."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with room_for(path), open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise
    sync_folder(path.parent)


def write_file(path: Path, data: bytes) -> None:
    """Write a file that is not read before sync_all() was called for it. Raises DiskFull."""
    with room_for(path), open(path, "wb") as file:
        file.write(data)


def replace_json(path: Path, value: Any) -> None:
    """Replace path by a JSON document atomically."""
    replace_file(path, json_bytes(value))


def replace_table(path: Path, table: pa.Table) -> None:
    """Replace path by a parquet file of one row group atomically."""
    replace_file(path, table_bytes(table))


def json_bytes(value: Any, *, indent: int | None = 4) -> bytes:
    return (json.dumps(value, indent=indent, allow_nan=False) + "\n").encode()


def table_bytes(table: pa.Table) -> bytes:
    """A parquet file of one row group."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, compression="snappy", use_dictionary=True) as writer:
        writer.write_table(table, row_group_size=max(1, len(table)))
    return bytes(sink.getvalue().to_pybytes())


def sync_file(path: Path) -> None:
    """Wait until the content of a closed file is on disk."""
    with room_for(path), open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_all(paths: Sequence[Path]) -> None:
    """Wait until files and folders are on disk, in parallel, which is as fast as one.

    Raises DiskFull.
    """
    if len(paths) < 2:  # a thread would cost more than it saves
        for path in paths:
            with room_for(path):
                sync_folder(path)
        return
    with ThreadPoolExecutor(max_workers=len(paths)) as pool:
        for path, done in [(p, pool.submit(sync_folder, p)) for p in paths]:
            with room_for(path):
                done.result()


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Converts a failed write on a full disk to DiskFull, naming the place."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise no_room(path, error) from error
        raise


def no_room(path: Path, error: OSError) -> DiskFull:
    return DiskFull(
        f"{path}: no room on the disk ({os.strerror(error.errno or errno.ENOSPC)}); what was saved before is "
        "complete. Make room, then save again or discard"
    )


def lock_folder(folder: Path) -> IO[str]:
    """Lock the folder for this process until the returned file is closed or the process ends.

    Raises Busy, naming the process that holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / "lock", "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read(100).strip() or "unknown"
        file.close()
        raise Busy(
            f"{folder.parent}: process {holder} records or changes this data set already; "
            "end it first or name another folder"
        ) from error
    with suppress(OSError):  # a full disk does not matter here
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
    return file
