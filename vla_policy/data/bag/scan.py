"""All complete records of an MCAP file, whether or not it was ever closed."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    McapRecord,
    Message,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
)
from mcap.stream_reader import get_chunk_data_stream

from vla_policy.data.bag.mcap_file import MAGIC, MessageIndexes, chunk_index
from vla_policy.parsing.files import one_line

HEAD = struct.Struct("<BQ")
MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time; then the data
MOST_BYTES = 1 << 30  # of one record
_READ = {
    Opcode.SCHEMA: Schema.read,
    Opcode.CHANNEL: Channel.read,
    Opcode.CHUNK: Chunk.read,
    Opcode.MESSAGE_INDEX: MessageIndex.read,
    Opcode.METADATA: Metadata.read,
}
_BROKEN = (
    McapError, ValueError, KeyError, EOFError, struct.error, MemoryError, OverflowError, zlib.error,
    zstandard.ZstdError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the file; at, length: its position, header included. what: None if ignored."""

    at: int
    length: int
    opcode: int
    what: McapRecord | None


def records(file: BinaryIO, path: Path, *, finished: bool = False) -> Iterator[Record]:
    """The complete records from the beginning, up to the first truncated one or the footer.

    finished: the file was closed, so none may be truncated.
    Raises ValueError for a file that is not MCAP, and for invalid bytes in the middle.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise ValueError(f"{path}: got another kind of file, expected an MCAP file")
    at = len(MAGIC)
    while True:
        head = file.read(HEAD.size)
        if len(head) < HEAD.size:
            return
        opcode, size = HEAD.unpack(head)
        if size > MOST_BYTES or (finished and size > path.stat().st_size - at):
            raise ValueError(
                f"{path}: got a record of {size} bytes at byte {at}: the file is damaged"
            )
        data = file.read(size)
        if len(data) < size:
            return
        yield Record(at, HEAD.size + size, opcode, parse(opcode, data, path, at))
        at += HEAD.size + size
        if opcode == Opcode.FOOTER:
            return


def is_finished(path: Path) -> bool:
    """Whether an MCAP file was closed: its last bytes equal its first."""
    with open(path, "rb") as file:
        file.seek(0, 2)
        if file.tell() < 2 * len(MAGIC):
            return False
        file.seek(-len(MAGIC), 2)
        return file.read() == MAGIC


def chunk_parts(chunk: Chunk, path: Path, at: int) -> Iterator[tuple[int, int, memoryview]]:
    """(offset, opcode, content) of a chunk's records. Raises ValueError for a wrong checksum."""
    try:
        plain = memoryview(_plain(chunk))
        place = 0
        while place < len(plain):
            opcode, size = HEAD.unpack_from(plain, place)
            body = plain[place + HEAD.size : place + HEAD.size + size]
            if len(body) < size:
                raise ValueError("a record is longer than its chunk")
            yield place, opcode, body
            place += HEAD.size + size
    except _BROKEN as error:
        raise ValueError(
            f"{path}: the chunk at byte {at} is damaged: {one_line(error)}"
        ) from error


def _plain(chunk: Chunk) -> bytes:
    """A chunk's decompressed content, with its checksum verified."""
    if chunk.uncompressed_size > MOST_BYTES:
        raise ValueError(f"it says {chunk.uncompressed_size} bytes")
    if chunk.compression == "zstd":
        data = zstandard.ZstdDecompressor().decompress(chunk.data, chunk.uncompressed_size)
    else:
        stream, length = get_chunk_data_stream(chunk)
        data = stream.read(length)
    crc = zlib.crc32(data) if chunk.uncompressed_crc else 0
    if crc != chunk.uncompressed_crc or len(data) != chunk.uncompressed_size:
        raise ValueError("its checksum is another")
    return data


@dataclass
class Whole:
    """The content of an unfinished file. end: where its last complete record ends.

    unindexed: the last chunk and the offsets of its messages, if its index is missing.
    problem: why data after `end` is not trusted, if the file was not merely truncated.
    """

    end: int = len(MAGIC)
    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    chunks: list[ChunkIndex] = field(default_factory=list)
    metadata: list[MetadataIndex] = field(default_factory=list)
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    unindexed: tuple[ChunkIndex, MessageIndexes] | None = None
    problem: str | None = None


def scan(path: Path) -> Whole:
    """All complete records from the beginning. Raises ValueError for a file that is not MCAP."""
    whole = Whole()
    pending: tuple[ChunkIndex, MessageIndexes] | None = None
    with open(path, "rb") as file:
        try:
            for record in records(file, path):
                if record.opcode in (Opcode.DATA_END, Opcode.FOOTER):
                    break
                if record.opcode == Opcode.MESSAGE_INDEX and pending is not None:
                    if _indexed(record, pending, whole):
                        pending = None
                    continue
                pending = _take(record, path, whole) or pending
        except ValueError as error:
            if whole.end == len(MAGIC):
                raise
            whole.problem = str(error)
    whole.unindexed = pending
    return whole


def _take(record: Record, path: Path, whole: Whole) -> tuple[ChunkIndex, MessageIndexes] | None:
    """The chunk, if it is one, with the offsets of its messages."""
    what, pending = record.what, None
    if isinstance(what, Chunk):
        index: MessageIndexes = {}
        for place, opcode, body in chunk_parts(what, path, record.at):
            if opcode == Opcode.MESSAGE:
                channel, _, log_ns, _ = MESSAGE.unpack_from(body)
                index.setdefault(channel, []).append((log_ns, place))
            else:
                _note(parse(opcode, bytes(body), path, record.at), whole)
        pending = (chunk_index(what, record.at, record.length), index)
    elif isinstance(what, Metadata):
        whole.metadata.append(MetadataIndex(record.at, record.length, what.name))
        whole.texts[what.name] = what.metadata
    elif what is not None:
        _note(what, whole)
    whole.end = record.at + record.length
    return pending


def _note(record: McapRecord | None, whole: Whole) -> None:
    if isinstance(record, Schema):
        whole.schemas[record.id] = record
    elif isinstance(record, Channel):
        whole.channels[record.id] = record


def _indexed(record: Record, pending: tuple[ChunkIndex, MessageIndexes], whole: Whole) -> bool:
    """Whether the chunk's index is complete with this record."""
    place, index = pending
    if isinstance(record.what, MessageIndex):
        place.message_index_offsets[record.what.channel_id] = record.at
    place.message_index_length += record.length
    if len(place.message_index_offsets) < len(index):
        return False
    whole.chunks.append(place)
    whole.counts.update({channel: len(entries) for channel, entries in index.items()})
    whole.end = record.at + record.length
    return True


def parse(opcode: int, data: bytes, path: Path, at: int) -> McapRecord | None:
    """A record of a relevant kind, else None. Raises ValueError for a damaged one."""
    read = _READ.get(opcode)  # type: ignore[call-overload]
    try:
        if opcode == Opcode.MESSAGE:
            return Message.read(ReadDataStream(BytesIO(data)), len(data))
        return None if read is None else read(ReadDataStream(BytesIO(data)))
    except _BROKEN as error:
        raise ValueError(
            f"{path}: the record at byte {at} is damaged: {one_line(error)}"
        ) from error
