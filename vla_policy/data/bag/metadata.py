"""metadata.yaml of rosbag2, version 9, which `ros2 bag` reads first."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

VERSION = 9
FILE = "metadata.yaml"
KEY = "rosbag2_bagfile_information"

# Names in custom_data for this project's own facts about a recording; all values are texts.
TASK = "vla_policy.task"  # the instruction of the whole take
SUCCESS = "vla_policy.success"  # true, false, or '' if unknown
ROBOT = "vla_policy.robot"  # name of the robot
ROBOT_FILE = "vla_policy.robot_file"  # the text of its YAML file
SCENE = "vla_policy.scene"  # of a simulation, as data/scene.py writes it; absent for a real robot
RECOVERED = "vla_policy.recovered"  # true for a bag that its recorder did not close
NAMESPACE = "vla_policy.namespace"  # of the graph, usually '/': prefix of relative topics


@dataclass(frozen=True, slots=True)
class TopicCount:
    """One topic of a bag.

    qos: offered by its publishers (qos.as_fields). hash: RIHS01 of the type, or ''.
    """

    topic: str
    type: str
    hash: str
    qos: tuple[Mapping[str, Any], ...]
    count: int


def bag_information(
    file: str,
    topics: Sequence[TopicCount],
    span_ns: tuple[int, int],
    custom: Mapping[str, str],
    *,
    distro: str,
) -> dict[str, Any]:
    """The content of metadata.yaml below its only key. span_ns: first and last log time."""
    count = sum(topic.count for topic in topics)
    start = {"nanoseconds_since_epoch": span_ns[0]}
    duration = {"nanoseconds": span_ns[1] - span_ns[0]}
    return {
        "version": VERSION,
        "storage_identifier": "mcap",
        "duration": duration,
        "starting_time": start,
        "message_count": count,
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": topic.topic,
                    "type": topic.type,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": [dict(qos) for qos in topic.qos],
                    "type_description_hash": topic.hash,
                },
                "message_count": topic.count,
            }
            for topic in topics
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file],
        "files": [
            {"path": file, "starting_time": start, "duration": duration, "message_count": count}
        ],
        "custom_data": dict(custom),
        "ros_distro": distro,
    }


class _Plain(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Uses libyaml if available, ten times as fast.

    No anchors, which rosbag2 would have to resolve.
    """

    def ignore_aliases(self, data: Any) -> bool:
        return True


def as_yaml(information: Mapping[str, Any]) -> str:
    """As YAML text, in the given order."""
    return str(yaml.dump(dict(information), Dumper=_Plain, sort_keys=False, allow_unicode=True))


def write_metadata(folder: Path, information: Mapping[str, Any]) -> None:
    """Write metadata.yaml atomically."""
    partial = folder / (FILE + ".partial")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(as_yaml({KEY: dict(information)}))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, folder / FILE)
