"""Read bags of any kind: rosbag2 folders and bare files, sqlite3 and MCAP, Humble to the newest.

Messages come in file order, the order of recording. MCAP files are read here, also those that were
never closed; sqlite3 and rosbag2's own compression by rosbags.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import yaml
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Channel, Chunk, Schema
from mcap.records import Message as McapMessage
from rosbags.rosbag2 import Reader, ReaderError

from vla_policy.data.bag import metadata
from vla_policy.data.bag.mcap_file import MAGIC
from vla_policy.data.bag.scan import (
    MESSAGE,
    Whole,
    chunk_parts,
    is_finished,
    parse,
    records,
    scan,
)
from vla_policy.data.bag.writer import RECORD
from vla_policy.data.streams import Decoder, Message
from vla_policy.parsing.files import one_line, read_text

SQLITE = b"SQLite format 3\0"
SUFFIXES = (".mcap", ".db3")


@dataclass(frozen=True, slots=True)
class Bag:
    """One recording. types: topic -> message type. definitions: type -> text in the format ros2msg.

    custom: names and texts about the recording. unfinished: one sentence if it was never closed;
    what was written is available nevertheless.
    """

    path: Path
    types: dict[str, str]
    definitions: dict[str, str]
    custom: dict[str, str]
    unfinished: str | None
    _read: Callable[[Collection[str] | None, Decoder], Iterator[Message]] = field(repr=False)

    def messages(
        self, topics: Collection[str] | None = None, decoder: Decoder | None = None
    ) -> Iterator[Message]:
        """The messages of topics (None: all), in the order of recording.

        Raises ValueError for a file that is damaged in the middle, with the place.
        """
        return self._read(topics, decoder or self.decoder())

    def decoder(self) -> Decoder:
        """Decodes the messages, with the bag's own definitions."""
        return Decoder(self.definitions)


def open_bag(path: Path) -> Bag:
    """A folder of rosbag2, or one .mcap or .db3 file.

    Raises FileNotFoundError if it does not exist, ValueError in one sentence for anything else.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: is not there, expected a bag")
    information: dict[str, Any] = {}
    if path.is_dir():
        information = _information(path)
        files = _files(path, information)
    else:
        files = [path]
    if information.get("compression_mode", "").lower() in ("file", "message"):
        return _by_rosbags(path, [path], information)
    kinds = {_kind(file) for file in files}
    if len(kinds) != 1:
        raise ValueError(f"{path}: got files of several kinds, expected one kind of storage")
    if kinds == {".mcap"}:
        return _of_mcap(path, files, information)
    return _by_rosbags(path, files, information)


def is_bag(path: Path) -> bool:
    """Whether a path seems a bag: a folder with metadata.yaml or storage files, or one file."""
    if path.is_dir():
        return (path / metadata.FILE).is_file() or any(_storage(path))
    return path.suffix in SUFFIXES


def _storage(folder: Path) -> list[Path]:
    """Storage files of a folder, ordered by number."""
    files = [file for suffix in SUFFIXES for file in folder.glob(f"*{suffix}")]
    return sorted(files, key=lambda f: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", f.name)])  # fmt: skip


def _files(path: Path, information: dict[str, Any]) -> list[Path]:
    named = [path / Path(name).name for name in information.get("relative_file_paths", [])]
    missing = [file.name for file in named if not file.is_file()]
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} named by {metadata.FILE} is not there")
    files = named or _storage(path)
    if not files:
        raise ValueError(
            f"{path}: got a folder without {metadata.FILE} and without files of "
            f"{' or '.join(SUFFIXES)}, expected a bag"
        )
    return files


def _information(folder: Path) -> dict[str, Any]:
    """The content of metadata.yaml; empty without one."""
    file = folder / metadata.FILE
    if not file.is_file():
        return {}
    try:
        found = yaml.safe_load(read_text(file))[metadata.KEY]
        if not isinstance(found, dict):
            raise TypeError(f"{metadata.KEY} is a {type(found).__name__}")
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: not the metadata of a bag: {one_line(error)}") from error
    return found


def _kind(file: Path) -> str:
    with open(file, "rb") as opened:
        head = opened.read(16)
    if head.startswith(MAGIC):
        return ".mcap"
    if head == SQLITE:
        return ".db3"
    raise ValueError(
        f"{file}: got {'an empty file' if not head else 'another kind of file'}, "
        "expected an MCAP or sqlite3 bag of ROS 2"
    )


def _of_mcap(path: Path, files: list[Path], information: dict[str, Any]) -> Bag:
    types: dict[str, str] = {}
    definitions: dict[str, str] = {}
    custom = {str(k): str(v) for k, v in (information.get("custom_data") or {}).items()}
    cut: list[str] = []
    for file in files:
        finished = is_finished(file)
        whole = _summary(file) if finished else scan(file)
        if not finished:
            cut.append(whole.problem or f"{file.name} was never closed")
        custom = {**whole.texts.get(RECORD, {}), **custom}
        for channel in whole.channels.values():
            schema = whole.schemas.get(channel.schema_id)
            if channel.message_encoding != "cdr" or schema is None:
                raise ValueError(
                    f"{file}: {channel.topic} is encoded as {channel.message_encoding!r}, expected cdr, "
                    "as ROS 2 writes it"
                )
            types[channel.topic] = schema.name
            if schema.encoding == "ros2msg":
                definitions[schema.name] = schema.data.decode(errors="replace")
    unfinished = f"{path}: {', '.join(cut)}; what was written until then is read" if cut else None

    def read(topics: Collection[str] | None, decoder: Decoder) -> Iterator[Message]:
        for file in files:
            yield from _mcap_messages(file, topics, decoder)

    return Bag(path, types, definitions, custom, unfinished, read)


def _summary(file: Path) -> Whole:
    """Topics and texts of a closed file, without reading its messages."""
    try:
        with open(file, "rb") as opened:
            reader = make_reader(opened)
            summary = reader.get_summary()
            if summary is None or not summary.channels:
                return scan(file)
            whole = Whole(schemas=dict(summary.schemas), channels=dict(summary.channels))
            whole.texts = {record.name: record.metadata for record in reader.iter_metadata()}
            return whole
    except (McapError, ValueError, EOFError, KeyError, OverflowError, struct.error) as error:
        raise ValueError(f"{file}: its summary is damaged: {one_line(error)}") from error


def _mcap_messages(
    file: Path, topics: Collection[str] | None, decoder: Decoder
) -> Iterator[Message]:
    """The messages of one file in its order."""
    schemas: dict[int, Schema] = {}
    channels: dict[int, tuple[str, str]] = {}  # requested ones only: topic, type

    def note(what: object) -> None:
        if isinstance(what, Schema):
            schemas[what.id] = what
        elif isinstance(what, Channel) and (topics is None or what.topic in topics):
            channels[what.id] = (what.topic, schemas[what.schema_id].name)

    with open(file, "rb") as opened:
        for record in records(opened, file, finished=is_finished(file)):
            what = record.what
            if isinstance(what, Chunk):
                for _, opcode, body in chunk_parts(what, file, record.at):
                    if opcode != Opcode.MESSAGE:
                        note(parse(opcode, bytes(body), file, record.at))
                        continue
                    channel, _, received_ns, _ = MESSAGE.unpack_from(body)
                    if channel in channels:
                        data = bytes(body[MESSAGE.size :])
                        yield decoder.message(*channels[channel], data, received_ns)
            elif isinstance(what, McapMessage):
                if what.channel_id in channels:
                    known = channels[what.channel_id]
                    yield decoder.message(*known, what.data, what.log_time)
            elif record.opcode == Opcode.DATA_END:
                return
            else:
                note(what)


def _by_rosbags(path: Path, files: list[Path], information: dict[str, Any]) -> Bag:
    """Bags read by rosbags: sqlite3, and files or messages compressed by rosbag2."""
    types: dict[str, str] = {}
    definitions: dict[str, str] = {}
    for file in files:
        with _reading(file) as reader:
            for connection in reader.connections:
                types[connection.topic] = connection.msgtype
                if connection.msgdef.format.name == "MSG":
                    definitions[connection.msgtype] = connection.msgdef.data
    custom = {str(k): str(v) for k, v in (information.get("custom_data") or {}).items()}
    # An sqlite3 file has no end marker; a folder without metadata.yaml was not closed.
    cut = path.is_dir() and not information
    unfinished = f"{path}: was never closed; what was written until then is read" if cut else None

    def read(topics: Collection[str] | None, decoder: Decoder) -> Iterator[Message]:
        for file in files:
            with _reading(file) as reader:
                wanted = [c for c in reader.connections if topics is None or c.topic in topics]
                if not wanted:
                    continue
                for connection, received_ns, data in reader.messages(wanted):
                    yield decoder.message(
                        connection.topic, connection.msgtype, bytes(data), received_ns
                    )

    return Bag(path, types, definitions, custom, unfinished, read)


@contextmanager
def _reading(file: Path) -> Iterator[Reader]:
    """rosbags' reader; its errors become one sentence with the file."""
    try:
        with Reader(file) as reader:
            yield reader
    except (ReaderError, apsw.Error, AssertionError, KeyError, OSError) as error:
        raise ValueError(f"{file}: not a readable bag: {one_line(error)}") from error
