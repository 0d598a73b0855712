"""Writes a bag for `ros2 bag`, Foxglove and rosbags, complete up to its last half second.

While it is written there is no metadata.yaml, as with `ros2 bag record`; recover.py closes the
bag of a killed process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from vla_policy.data.bag.definitions import definition_of
from vla_policy.data.bag.mcap_file import McapFile
from vla_policy.data.bag.metadata import TopicCount, as_yaml, bag_information, write_metadata
from vla_policy.data.bag.qos import Qos, as_fields, as_text
from vla_policy.data.streams import Message

FLUSH_NS = 500_000_000
LIBRARY = "vla_policy"
RECORD = "vla_policy"  # name of the metadata record about the recording, at the start of the file


class BagWriter:
    """One bag. custom: names and texts about the recording; data/bag/metadata.py lists ours.

    open, then write, then close. Every method raises OSError if the disk does; data flushed before
    stays complete, and `recover` closes it. Not for several threads at once.
    """

    def __init__(self, folder: Path, custom: Mapping[str, str] | None = None) -> None:
        self.folder = Path(folder)
        self._custom = dict(custom or {})
        self._file: McapFile | None = None
        self._topics: dict[str, tuple[int, str, tuple[Qos, ...]]] = {}
        self._schemas: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._flushed_ns: int | None = None

    def open(self) -> None:
        """Create the folder and its file. Raises FileExistsError if it exists."""
        try:
            self.folder.mkdir(parents=True)
        except FileExistsError as error:
            raise FileExistsError(
                f"{self.folder}: is there already, expected a new folder for a bag"
            ) from error
        self._file = McapFile.create(self.folder / file_name(self.folder), library=LIBRARY)
        self._file.add_metadata(RECORD, self._custom)

    def write(self, message: Message, qos: Sequence[Qos] = ()) -> None:
        """Add a message; qos: its publishers' profiles, used with the first message of a topic.

        Data from half a second before the message is on disk. Raises ValueError for a topic that
        changes its type, an invalid topic name and a time before 1970.
        """
        file = self._opened()
        known = self._topics.get(message.topic)
        if known is None:
            known = self._add_topic(file, message, tuple(qos))
        channel, kind, _ = known
        if kind != message.type:
            raise ValueError(
                f"{self.folder}: {message.topic}: got a message of {message.type}, expected {kind}"
            )
        if message.received_ns < 0 or message.stamp_ns < 0:
            raise ValueError(
                f"{self.folder}: {message.topic}: got a time of "
                f"{min(message.received_ns, message.stamp_ns)} ns, expected one since 1970"
            )
        self._counts[message.topic] += 1
        file.add_message(
            channel,
            message.data,
            log_ns=message.received_ns,
            publish_ns=message.stamp_ns,
            sequence=self._counts[message.topic],
        )
        if self._flushed_ns is None:
            self._flushed_ns = message.received_ns
        elif not 0 <= message.received_ns - self._flushed_ns < FLUSH_NS:
            file.end_chunk()
            self._flushed_ns = message.received_ns

    def flush(self) -> None:
        """Pass all data to the operating system, so that it survives this process.

        For a timer: write flushes only when messages arrive.
        """
        self._opened().end_chunk()

    def close(self, custom: Mapping[str, str] | None = None) -> None:
        """End the file and write metadata.yaml.

        custom: more names and texts, which replace earlier ones.
        """
        file = self._opened()
        file.end_chunk()
        self._custom |= custom or {}
        topics = [
            TopicCount(
                topic,
                kind,
                definition_of(kind).hash,
                tuple(as_fields(profile) for profile in qos),
                file.counts[channel],
            )
            for topic, (channel, kind, qos) in self._topics.items()
        ]
        information = bag_information(
            file_name(self.folder),
            topics,
            file.span_ns,
            self._custom,
            distro=distro(),
        )
        file.add_metadata("rosbag2", {"serialized_metadata": as_yaml(information)})
        file.finish()
        self.abandon()
        write_metadata(self.folder, information)

    def abandon(self) -> None:
        """Close the file as it is, after an error: `recover` can complete it later."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _opened(self) -> McapFile:
        if self._file is None:
            raise ValueError(f"{self.folder}: the bag is not open")
        return self._file

    def _add_topic(
        self, file: McapFile, message: Message, qos: tuple[Qos, ...]
    ) -> tuple[int, str, tuple[Qos, ...]]:
        if not message.topic.startswith("/"):
            raise ValueError(
                f"{self.folder}: got the topic {message.topic!r}, expected its full name from '/'"
            )
        definition = definition_of(message.type)
        if message.type not in self._schemas:
            encoding = "ros2msg" if definition.text else "unknown"
            data = definition.text.encode()
            self._schemas[message.type] = file.add_schema(message.type, encoding, data)
        metadata = {"offered_qos_profiles": as_text(qos), "topic_type_hash": definition.hash}
        channel = file.add_channel(message.topic, self._schemas[message.type], metadata)
        self._topics[message.topic] = (channel, message.type, qos)
        self._counts[message.topic] = 0
        return self._topics[message.topic]


def file_name(folder: Path) -> str:
    """The file of a bag in a folder of that name, as named by rosbag2."""
    return f"{folder.name}_0.mcap"


def distro() -> str:
    """The ROS release named in a bag: the sourced one, else that of the wheels."""
    return os.environ.get("ROS_DISTRO", "kilted")
