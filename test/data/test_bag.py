"""Bags that are written here open elsewhere, those of others open here, and a killed recorder loses its last moment at most."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from io import FileIO
from pathlib import Path

import bag_messages as make
import mcap.reader
import numpy as np
import pytest
import yaml
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer

from vla_policy.data.bag import mcap_file
from vla_policy.data.bag.metadata import KEY, RECOVERED, TASK
from vla_policy.data.bag.qos import Qos
from vla_policy.data.bag.reader import open_bag
from vla_policy.data.bag.recover import recover
from vla_policy.data.bag.writer import BagWriter

S, MS, START = make.S, make.MS, make.START
SENSOR = Qos(reliability="best_effort", depth=1)


def written(folder: Path, messages, custom=None) -> Path:
    bag = BagWriter(folder, custom)
    bag.open()
    for message in messages:
        bag.write(message, (SENSOR,))
    bag.close()
    return folder


def a_take(seconds=0.5):
    return make.take(make.robot(), seconds)


def test_rosbags_reads_what_was_written_with_equal_bytes(tmp_path):
    messages = a_take()
    folder = written(tmp_path / "bag", messages, {TASK: "lift the cube"})
    with Reader(folder) as reader:
        found = [(c.topic, c.msgtype, ns, bytes(data)) for c, ns, data in reader.messages()]
        connections = {c.topic: c for c in reader.connections}
        assert reader.message_count == len(messages)
        assert reader.storage.metadata.custom == {TASK: "lift the cube"}
    expected = [(m.topic, m.type, m.received_ns, m.data) for m in messages]
    assert Counter(found) == Counter(expected)
    joints = connections["/follower/joint_states"]
    assert joints.msgdef.format == MessageDefinitionFormat.MSG
    assert "float64[] position" in joints.msgdef.data
    assert joints.digest.startswith("RIHS01_")
    (profile,) = joints.ext.offered_qos_profiles
    assert (profile.reliability.name, profile.depth) == ("BEST_EFFORT", 1)
    ours = connections["/control_command"]
    assert "string control_source" in ours.msgdef.data
    assert "MSG: std_msgs/Header" in ours.msgdef.data


def test_every_record_is_what_mcap_says(tmp_path):
    messages = a_take()
    folder = written(tmp_path / "bag", messages)
    with open(next(folder.glob("*.mcap")), "rb") as file:
        reader = mcap.reader.make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert reader.get_header().profile == "ros2"
        found = [
            (channel.topic, message.log_time, message.publish_time, message.data)
            for _, channel, message in reader.iter_messages(log_time_order=True)
        ]
    assert summary.statistics.message_count == len(messages) == len(found)
    assert all(chunk.compression == "zstd" for chunk in summary.chunk_indexes)
    expected = sorted(
        ((m.topic, m.received_ns, m.stamp_ns, m.data) for m in messages), key=lambda m: m[1]
    )
    assert [f[1] for f in found] == [e[1] for e in expected]
    assert Counter(found) == Counter(expected)
    channel = next(c for c in summary.channels.values() if c.topic == "/static_camera/image_raw")
    (profile,) = yaml.safe_load(channel.metadata["offered_qos_profiles"])
    assert profile["reliability"] == "best_effort"
    assert profile["deadline"] == {"sec": 9223372036, "nsec": 854775807}


def test_metadata_has_the_keys_of_rosbag2_version_9(tmp_path):
    messages = a_take()
    folder = written(tmp_path / "bag", messages)
    said = yaml.safe_load((folder / "metadata.yaml").read_text())[KEY]
    assert list(said) == [
        "version", "storage_identifier", "duration", "starting_time", "message_count",
        "topics_with_message_count", "compression_format", "compression_mode",
        "relative_file_paths", "files", "custom_data", "ros_distro",
    ]  # fmt: skip
    assert (said["version"], said["storage_identifier"]) == (9, "mcap")
    received = [m.received_ns for m in messages]
    assert said["starting_time"]["nanoseconds_since_epoch"] == min(received)
    assert said["duration"]["nanoseconds"] == max(received) - min(received)
    counts = {
        t["topic_metadata"]["name"]: t["message_count"] for t in said["topics_with_message_count"]
    }
    assert counts == Counter(m.topic for m in messages)
    assert "&id" not in (folder / "metadata.yaml").read_text()


def test_what_was_written_comes_back_in_the_order_of_writing(tmp_path):
    messages = a_take()
    messages[3], messages[40] = messages[40], messages[3]  # receipt is not sorted
    bag = open_bag(written(tmp_path / "bag", messages, {TASK: "lift"}))
    assert list(bag.messages()) == messages
    assert bag.unfinished is None
    assert bag.custom[TASK] == "lift"
    only = list(bag.messages(["/control_command"]))
    assert only == [m for m in messages if m.topic == "/control_command"]


@pytest.mark.parametrize("version", [8, 9])
@pytest.mark.parametrize(
    ("storage", "mode"),
    [
        (StoragePlugin.SQLITE3, CompressionMode.NONE),
        (StoragePlugin.SQLITE3, CompressionMode.FILE),
        (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
        (StoragePlugin.MCAP, CompressionMode.NONE),
        (StoragePlugin.MCAP, CompressionMode.FILE),
        (StoragePlugin.MCAP, CompressionMode.STORAGE),
    ],
)
def test_bags_of_rosbags_come_back_with_equal_bytes(tmp_path, version, storage, mode):
    messages = a_take(0.2)
    writer = Writer(tmp_path / "bag", version=version, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for m in messages:
            if m.topic not in connections:
                connections[m.topic] = writer.add_connection(
                    m.topic, m.type, typestore=make.store()
                )
            writer.write(connections[m.topic], m.received_ns, m.data)
    bag = open_bag(tmp_path / "bag")
    found = list(bag.messages())
    assert Counter(found) == Counter(messages)
    assert [m.received_ns for m in found] == sorted(m.received_ns for m in messages)
    assert bag.types["/control_command"] == "vla_policy/msg/ControlCommand"
    assert "control_source" in bag.definitions["vla_policy/msg/ControlCommand"]


def test_a_bare_file_and_a_folder_without_metadata_open(tmp_path):
    messages = a_take(0.2)
    folder = written(tmp_path / "bag", messages)
    assert list(open_bag(next(folder.glob("*.mcap"))).messages()) == messages
    (folder / "metadata.yaml").unlink()
    assert list(open_bag(folder).messages()) == messages


def test_a_killed_recorder_loses_its_last_moment_at_most(tmp_path):
    program = f"""
import sys, os
sys.path.insert(0, {str(Path(make.__file__).parent)!r})
import bag_messages as make
from vla_policy.data.bag.writer import BagWriter
bag = BagWriter({str(tmp_path / "bag")!r}, {{{TASK!r}: "lift"}})
bag.open()
for message in make.take(make.robot(), 2.0):
    bag.write(message)
print("written", flush=True)
sys.stdin.read()
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "written\n"
    with pytest.raises(BlockingIOError, match="another process is writing it"):
        recover(tmp_path / "bag")
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    messages = make.take(make.robot(), 2.0)
    unfinished = open_bag(tmp_path / "bag")
    assert "was never closed" in unfinished.unfinished
    before = list(unfinished.messages())
    assert before == messages[: len(before)]
    assert messages[-1].received_ns - before[-1].received_ns < S
    sentence = recover(tmp_path / "bag")
    assert f"closed with {len(before)} messages" in sentence
    closed = open_bag(tmp_path / "bag")
    assert closed.unfinished is None
    assert list(closed.messages()) == before
    assert closed.custom == {TASK: "lift", RECOVERED: "true"}
    with Reader(tmp_path / "bag") as reader:
        assert reader.message_count == len(before)
        assert len(list(reader.messages())) == len(before)
    assert recover(tmp_path / "bag") is None


def test_a_file_that_is_cut_anywhere_gives_what_is_whole(tmp_path):
    messages = a_take(0.8)
    folder = written(tmp_path / "whole", messages)
    data = next(folder.glob("*.mcap")).read_bytes()
    rng = np.random.default_rng(0)
    lengths = set()
    for number, cut in enumerate(sorted(rng.integers(9, len(data), 8).tolist())):
        other = tmp_path / f"cut{number}"
        other.mkdir()
        (other / f"cut{number}_0.mcap").write_bytes(data[:cut])
        found = list(open_bag(other).messages())
        assert found == messages[: len(found)]
        recover(other)
        assert list(open_bag(other).messages()) == found
        with open(other / f"cut{number}_0.mcap", "rb") as file:
            seekable = mcap.reader.make_reader(file, validate_crcs=True)
            assert len(list(seekable.iter_messages())) == len(found)
        lengths.add(len(found))
    assert {0, len(messages)} < lengths  # cut before the first chunk, between, and behind the last


@pytest.mark.parametrize("place", [-4, 24, 300])  # its length, its checksum, what it holds
def test_damage_in_the_middle_is_told_with_its_place(tmp_path, place):
    folder = written(tmp_path / "bag", a_take(0.8))
    path = next(folder.glob("*.mcap"))
    data = bytearray(path.read_bytes())
    with open(path, "rb") as file:
        chunk = mcap.reader.make_reader(file).get_summary().chunk_indexes[1]
    data[chunk.chunk_start_offset + 9 + place] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"_0\.mcap: .* at byte \d+.* is damaged"):
        list(open_bag(folder).messages())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "got an empty file, expected an MCAP or sqlite3 bag"),
        (b"not a bag at all, but longer than a head", "got another kind of file"),
        (b"SQLite format 3\0" + bytes(50), "not a readable bag"),
        (b"\x89MCAP0\r\n" + b"\x06" + (1 << 40).to_bytes(8, "little"), "the file is damaged"),
    ],
)
def test_what_is_no_bag_is_refused_in_one_sentence(tmp_path, content, sentence):
    (tmp_path / "thing.mcap").write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as refused:
        list(open_bag(tmp_path / "thing.mcap").messages())
    assert "\n" not in str(refused.value)
    assert "thing.mcap" in str(refused.value)


def test_what_is_not_there_and_what_is_not_whole_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a bag"):
        open_bag(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"without metadata\.yaml and without files"):
        open_bag(tmp_path / "empty")
    folder = written(tmp_path / "bag", a_take(0.2))
    next(folder.glob("*.mcap")).unlink()
    with pytest.raises(ValueError, match=r"bag_0\.mcap named by metadata\.yaml is not there"):
        open_bag(folder)


def test_two_recorders_at_one_folder_are_refused(tmp_path):
    BagWriter(tmp_path / "bag").open()
    with pytest.raises(FileExistsError, match="expected a new folder"):
        BagWriter(tmp_path / "bag").open()


def test_a_topic_that_changes_its_type_or_has_no_full_name_is_refused(tmp_path):
    bag = BagWriter(tmp_path / "bag")
    bag.open()
    bag.write(make.text("/instruction", "lift", START))
    with pytest.raises(ValueError, match=r"/instruction: got a message of std_msgs/msg/Float64"):
        bag.write(make.numbers("/instruction", [1.0], START))
    with pytest.raises(ValueError, match="expected its full name"):
        bag.write(make.text("instruction", "lift", START))


def test_a_full_disk_leaves_a_bag_that_recovers(tmp_path, monkeypatch):
    messages = make.take(make.robot(), 2.0)
    bag = BagWriter(tmp_path / "bag")
    bag.open()
    path = next((tmp_path / "bag").glob("*.mcap"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            for message in messages:
                bag.write(message)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    bag.abandon()
    assert 0 < path.stat().st_size <= 30_000
    recover(tmp_path / "bag")
    found = list(open_bag(tmp_path / "bag").messages())
    assert found == messages[: len(found)]
    assert found


def test_a_chunk_is_written_in_pieces_that_hold_up_nobody(tmp_path):
    sizes = []

    class Disk(FileIO):
        def write(self, data):
            sizes.append(len(data))
            return super().write(data)

    file = mcap_file.McapFile(Disk(tmp_path / "x.mcap", "xb"))
    data = os.urandom(3_000_000)
    channel = file.add_channel("/x", file.add_schema("std_msgs/msg/String", "ros2msg", b""), {})
    file.add_message(channel, data, log_ns=1, publish_ns=1, sequence=1)
    file.end_chunk()
    file.close()
    assert max(sizes) <= mcap_file.WRITE_BYTES < sum(sizes)
    assert (tmp_path / "x.mcap").stat().st_size == sum(sizes) > len(data)
