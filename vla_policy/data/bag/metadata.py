"""metadata.yaml of rosbag2, version 9: what `ros2 bag` reads before anything else."""

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

# Names in custom_data of what a recording of this project says about itself; all values are texts.
TASK = "vla_policy.task"  # the instruction of the whole take
SUCCESS = "vla_policy.success"  # true, false, or '' where nobody said
ROBOT = "vla_policy.robot"  # name of the robot
ROBOT_FILE = "vla_policy.robot_file"  # the text of its YAML file
SCENE = "vla_policy.scene"  # of a simulation, as data/scene.py writes it; absent for a real robot
RECOVERED = "vla_policy.recovered"  # true for a bag whose recorder did not close it
NAMESPACE = "vla_policy.namespace"  # of the graph, '/' mostly: what relative topics stand below


@dataclass(frozen=True, slots=True)
class TopicCount:
    """One topic of a bag. qos: as its publishers offered it (qos.as_fields). hash: RIHS01 of the type, '' if not known."""

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
    """What stands below the one key of metadata.yaml. span_ns: log times of first and last message."""
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
    """By libyaml where it is there, ten times as fast. Without anchors, which rosbag2's reader would have to resolve."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def as_yaml(information: Mapping[str, Any]) -> str:
    """As a text, in the order given."""
    return str(yaml.dump(dict(information), Dumper=_Plain, sort_keys=False, allow_unicode=True))


def write_metadata(folder: Path, information: Mapping[str, Any]) -> None:
    """metadata.yaml, completely or not at all."""
    partial = folder / (FILE + ".partial")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(as_yaml({KEY: dict(information)}))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, folder / FILE)
