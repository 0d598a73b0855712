"""An MCAP file written chunk by chunk, so that flushed data is complete whatever happens next.

The records are those of the package mcap; its own writer has no compression level and cannot
resume a file that was left open, which `resume` does.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterable
from io import FileIO
from pathlib import Path

import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)

MAGIC = b"\x89MCAP0\r\n"
CHUNK_BYTES = 4 << 20
# Bytes per write: its copy occupies the core, also for the control loop. 4 MB take 2.5 ms.
WRITE_BYTES = 1 << 18
LEVEL = 1  # camera pixels compress little at any level, and recording must not slow control
_MESSAGE = struct.Struct("<BQHIQQ")
MessageIndexes = dict[int, list[tuple[int, int]]]  # channel -> (log time, offset in the chunk)


class McapFile:
    """Write messages of channels into chunks; end_chunk flushes the current one to disk.

    Raises OSError if the disk does. The file then ends after its last complete chunk and can be
    recovered; this object must not be used any more.
    """

    def __init__(self, file: FileIO) -> None:
        """Use create or resume. file: open for writing, locked by this process."""
        self._file = file
        self._schemas: list[Schema] = []
        self._channels: list[Channel] = []
        self._counts: Counter[int] = Counter()
        self._chunks: list[ChunkIndex] = []
        self._metadata: list[MetadataIndex] = []
        self._parts: list[bytes] = []
        self._index: MessageIndexes = {}
        self._size = self._at = 0
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)

    @classmethod
    def create(cls, path: Path, *, library: str) -> McapFile:
        """A new file. Raises FileExistsError."""
        self = cls(_locked(open(path, "xb", buffering=0)))
        builder = RecordBuilder()
        Header("ros2", library).write(builder)
        self._put(MAGIC + builder.end())
        return self

    @classmethod
    def resume(
        cls,
        path: Path,
        *,
        schemas: Iterable[Schema],
        channels: Iterable[Channel],
        counts: Counter[int],
        chunks: Iterable[ChunkIndex],
        metadata: Iterable[MetadataIndex],
        end: int,
    ) -> McapFile:
        """Continue after byte `end` of a file whose complete records are known."""
        self = cls(_locked(open(path, "r+b", buffering=0)))
        self._file.truncate(end)
        self._file.seek(end)
        self._schemas, self._channels = list(schemas), list(channels)
        self._counts.update(counts)
        self._chunks, self._metadata = list(chunks), list(metadata)
        self._at = end
        return self

    def add_schema(self, name: str, encoding: str, data: bytes) -> int:
        """The number of a message type in this file."""
        number = len(self._schemas) + 1
        self._schemas.append(Schema(id=number, data=data, encoding=encoding, name=name))
        self._write_record(self._schemas[-1])
        return number

    def add_channel(self, topic: str, schema: int, metadata: dict[str, str]) -> int:
        """The number of a topic in this file."""
        number = len(self._channels) + 1
        self._channels.append(Channel(number, topic, "cdr", metadata, schema))
        self._write_record(self._channels[-1])
        return number

    def add_message(
        self, channel: int, data: bytes, *, log_ns: int, publish_ns: int, sequence: int
    ) -> None:
        """data: serialized, unchanged. Ends the chunk when it is full."""
        self._index.setdefault(channel, []).append((log_ns, self._size))
        head = _MESSAGE.pack(
            Opcode.MESSAGE, 22 + len(data), channel, sequence & 0xFFFFFFFF, log_ns, publish_ns
        )
        self._parts += (head, data)
        self._size += len(head) + len(data)
        if self._size >= CHUNK_BYTES:
            self.end_chunk()

    def add_metadata(self, name: str, values: dict[str, str]) -> None:
        """Write names and texts beside the messages."""
        self.end_chunk()
        builder = RecordBuilder()
        Metadata(name, values).write(builder)
        data = builder.end()
        self._metadata.append(MetadataIndex(self._at, len(data), name))
        self._put(data)

    def end_chunk(self) -> None:
        """Write the messages since the last chunk to the file; nothing without messages."""
        if not self._index:
            return
        plain = b"".join(self._parts)
        packed = self._compressor.compress(plain)
        times = [ns for entries in self._index.values() for ns, _ in entries]
        first, last = min(times), max(times)
        builder = RecordBuilder()
        chunk = Chunk("zstd", packed, last, first, zlib.crc32(plain), len(plain))
        chunk.write(builder)
        place = chunk_index(chunk, self._at, builder.count)
        index, self._parts, self._size, self._index = self._index, [], 0, {}
        self._put_indexed(builder, place, index)

    def index_last(self, place: ChunkIndex, index: MessageIndexes) -> None:
        """Write the index of the last chunk of a resumed file."""
        self._put_indexed(RecordBuilder(), place, index)

    @property
    def span_ns(self) -> tuple[int, int]:
        """Log times of the first and last message; zeros without one."""
        if not self._chunks:
            return 0, 0
        return (
            min(c.message_start_time for c in self._chunks),
            max(c.message_end_time for c in self._chunks),
        )

    @property
    def counts(self) -> Counter[int]:
        """Number of messages of each channel in the file."""
        return self._counts

    def finish(self) -> None:
        """Write the summary and the end, and sync all to disk."""
        self.end_chunk()
        summary, groups = RecordBuilder(), []
        start = self._at + 13  # after the record DataEnd
        statistics = Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=dict(sorted(self._counts.items())),
            chunk_count=len(self._chunks),
            message_count=sum(self._counts.values()),
            message_end_time=self.span_ns[1],
            message_start_time=self.span_ns[0],
            metadata_count=len(self._metadata),
            schema_count=len(self._schemas),
        )
        records: tuple[tuple[Opcode, list[McapRecord]], ...] = (
            (Opcode.SCHEMA, [*self._schemas]),
            (Opcode.CHANNEL, [*self._channels]),
            (Opcode.STATISTICS, [statistics]),
            (Opcode.CHUNK_INDEX, [*self._chunks]),
            (Opcode.METADATA_INDEX, [*self._metadata]),
        )
        for opcode, members in records:
            at = summary.count
            for record in members:
                record.write(summary)
            if members:
                groups.append(SummaryOffset(opcode, start + at, summary.count - at))
        offsets_at = start + summary.count
        for group in groups:
            group.write(summary)
        data = summary.end()
        footer = struct.pack("<BQQQ", Opcode.FOOTER, 20, start, offsets_at)
        builder = RecordBuilder()
        DataEnd(0).write(builder)
        builder.write(data)
        Footer(start, offsets_at, zlib.crc32(data + footer)).write(builder)
        self._put(builder.end() + MAGIC)
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file as it is."""
        self._file.close()

    def _put_indexed(
        self, builder: RecordBuilder, place: ChunkIndex, index: MessageIndexes
    ) -> None:
        """builder: the chunk, unless it is in the file already."""
        length = builder.count
        for channel, entries in index.items():
            place.message_index_offsets[channel] = self._at + builder.count
            MessageIndex(channel, entries).write(builder)
        place.message_index_length = builder.count - length
        self._put(builder.end())
        self._chunks.append(place)
        self._counts.update({channel: len(entries) for channel, entries in index.items()})

    def _write_record(self, record: McapRecord) -> None:
        builder = RecordBuilder()
        record.write(builder)
        data = builder.end()
        self._parts.append(data)
        self._size += len(data)

    def _put(self, data: bytes) -> None:
        """Write all of data, or nothing that a reader would accept as complete."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view[:WRITE_BYTES]) :]
        except OSError:
            self._file.truncate(self._at)
            raise
        self._at += len(data)


def chunk_index(chunk: Chunk, at: int, length: int) -> ChunkIndex:
    """The index entry of a chunk of that length; the offsets of its messages are still missing."""
    return ChunkIndex(
        chunk_length=length,
        chunk_start_offset=at,
        compression=chunk.compression,
        compressed_size=len(chunk.data),
        message_end_time=chunk.message_end_time,
        message_index_length=0,
        message_index_offsets={},
        message_start_time=chunk.message_start_time,
        uncompressed_size=chunk.uncompressed_size,
    )


def _locked(file: FileIO) -> FileIO:
    """The file, locked by this process. Raises BlockingIOError if another one writes it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise BlockingIOError(f"{file.name}: another process is writing it") from error
    return file
