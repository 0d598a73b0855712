"""Closes a bag whose recorder was killed: flushed data is kept, and every reader can open it."""

from __future__ import annotations

from pathlib import Path

import yaml

from vla_policy.data.bag.mcap_file import McapFile
from vla_policy.data.bag.metadata import (
    FILE,
    RECOVERED,
    TopicCount,
    as_yaml,
    bag_information,
    write_metadata,
)
from vla_policy.data.bag.scan import Whole, scan
from vla_policy.data.bag.writer import RECORD, distro
from vla_policy.timing import s_from_ns


def recover(folder: Path) -> str | None:
    """Close the bag in folder; returns one sentence on its content, None if it was closed already.

    Raises FileNotFoundError without an MCAP file, BlockingIOError while a recorder still writes
    it, ValueError for a file of another recorder, OSError if the disk does.
    """
    folder = Path(folder)
    if (folder / FILE).is_file():
        return None
    files = sorted(folder.glob("*.mcap"))
    if not files:
        raise FileNotFoundError(f"{folder}: got a folder without an MCAP file, expected a bag")
    if len(files) > 1:
        raise ValueError(
            f"{folder}: got {len(files)} MCAP files, expected one; `ros2 bag reindex` puts them together"
        )
    path = files[0]
    size = path.stat().st_size
    whole = scan(path)
    if whole.texts.get("rosbag2") is not None:  # everything except metadata.yaml was written
        whole.metadata = [m for m in whole.metadata if m.name != "rosbag2"]
    file = McapFile.resume(
        path,
        schemas=whole.schemas.values(),
        channels=whole.channels.values(),
        counts=whole.counts,
        chunks=whole.chunks,
        metadata=whole.metadata,
        end=whole.end,
    )
    try:
        if whole.unindexed is not None:
            file.index_last(*whole.unindexed)
        information = bag_information(
            path.name,
            _topics(whole, file),
            file.span_ns,
            {**whole.texts.get(RECORD, {}), RECOVERED: "true"},
            distro=distro(),
        )
        file.add_metadata("rosbag2", {"serialized_metadata": as_yaml(information)})
        file.finish()
    finally:
        file.close()
    write_metadata(folder, information)
    first, last = file.span_ns
    lost = f"; {whole.problem}" if whole.problem else ""
    return (
        f"{folder}: closed with {sum(file.counts.values())} messages of "
        f"{s_from_ns(last - first):.1f} s; {size - whole.end} bytes at its end were cut off{lost}"
    )


def _topics(whole: Whole, file: McapFile) -> list[TopicCount]:
    found = []
    for channel in whole.channels.values():
        schema = whole.schemas.get(channel.schema_id)
        profiles = yaml.safe_load(channel.metadata.get("offered_qos_profiles", "")) or []
        found.append(
            TopicCount(
                channel.topic,
                "" if schema is None else schema.name,
                channel.metadata.get("topic_type_hash", ""),
                tuple(profiles),
                file.counts[channel.id],
            )
        )
    return found
