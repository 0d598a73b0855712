"""Sets of other versions and writers, shards, bags and recordings; the verb itself."""

import json
import shutil
from pathlib import Path

import bag_messages as make
import numpy as np
import pyarrow.parquet as pq
import pytest
from clean_sets import clean_set, image, pose
from data_faults import change_json, data_file, put, rows, video_file

from vla_policy.cli import main
from vla_policy.data.bag.metadata import ROBOT, TASK
from vla_policy.data.bag.qos import Qos
from vla_policy.data.bag.writer import BagWriter
from vla_policy.data.checks.source import check_data
from vla_policy.data.shards import write_shard

GOLDEN = Path(__file__).parents[2] / "golden" / "lerobot_sets"
MS = make.MS


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    return clean_set(tmp_path_factory.mktemp("sets") / "clean")


def places(root: Path, **more):
    return [(f.code, f.episode, f.frame) for f in check_data(root, **more)]


@pytest.mark.parametrize(("word", "length"), [("short", 7), ("long", 62)])
def test_an_episode_of_another_length_than_its_task_is_a_doubt(tmp_path, word, length):
    root = clean_set(tmp_path / "set", (20, 20, 22, 20, 24, 20, length, 20))
    assert [(f.level, f.code, f.episode) for f in check_data(root)] == [("warning", word, 6)]


def test_two_episodes_are_enough_to_see_that_cameras_changed_places(tmp_path):
    root = clean_set(tmp_path / "set", (20, 20))
    a, b = (video_file(root, 1, c) for c in ("front", "wrist"))
    a.rename(root / "aside")
    b.rename(a)
    (root / "aside").rename(b)
    assert places(root) == [("swapped_cameras", 1, 0)]


def test_a_robot_at_rest_is_no_frozen_camera(tmp_path):
    def rest(episode, number):
        if number < 10:
            return {}
        still = pose(episode, 10).astype(np.float32)
        images = {c: image(episode, 10, c) for c in ("front", "wrist")}
        return {"images": images, "state": still, "action": still, "proposed": still}

    assert places(clean_set(tmp_path / "set", (30, 30), change=rest)) == []


def test_frames_that_the_recorder_marked_are_not_called_frozen(tmp_path):
    def lost(episode, number):
        if episode or not 10 <= number < 18:
            return {}
        own = {c: image(episode, number, c) for c in ("front", "wrist")}
        return {"images": own | {"wrist": image(episode, 9, "wrist")}, "valid": False}

    assert places(clean_set(tmp_path / "set", (30, 30), change=lost)) == [
        ("invalid_frames", 0, 10)
    ]


def test_a_camera_that_is_dead_for_a_whole_episode(tmp_path):
    def dead(episode, number):
        own = {c: image(episode, number, c) for c in ("front", "wrist")}
        return {"images": own | {"front": image(episode, 3, "front")}} if episode == 1 else {}

    assert places(clean_set(tmp_path / "set", (20, 20, 20), change=dead)) == [("frozen", 1, 1)]


def test_the_robot_may_be_named(clean):
    found = check_data(clean, "so101")
    assert [f.code for f in found] == ["mixed_robots"]
    assert "'vx300s'" in found[0].says and "'so101'" in found[0].says


@pytest.mark.slow
def test_several_processes_find_the_same(clean, tmp_path):
    root = shutil.copytree(clean, tmp_path / "set")
    values = rows(data_file(root, 2), "action")
    values[5, 3] = np.nan
    put(data_file(root, 2), "action", values)
    assert check_data(root, workers=2) == check_data(root, workers=1)
    assert places(root) == [("not_finite", 2, 5)]


def test_quick_reads_times_of_videos_and_decodes_none(clean, tmp_path):
    root = shutil.copytree(clean, tmp_path / "set")
    assert places(root, quick=True) == []
    video_file(root, 1, "wrist").write_bytes(b"no video")
    assert places(root, quick=True) == [("unreadable", 1, 0)]


def test_older_sets_have_their_statistics_by_episode(tmp_path):
    root = shutil.copytree(GOLDEN / "v21", tmp_path / "set")
    path = root / "meta/episodes_stats.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["stats"]["action"]["mean"][2] += 5
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert places(root) == [("statistics", 1, None)]


def test_older_sets_miss_an_episode(tmp_path):
    root = shutil.copytree(GOLDEN / "v21", tmp_path / "set")
    path = root / "meta/episodes.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[2]]) + "\n")
    assert places(root) == [("index_gap", 1, None)]


def test_many_episodes_in_one_file_have_their_own_places(tmp_path):
    root = shutil.copytree(GOLDEN / "v30", tmp_path / "set")
    file = root / "data/chunk-000/file-000.parquet"
    values = rows(file, "timestamp")
    values[7 + 3] = 0.05  # frame 3 of episode 1
    put(file, "timestamp", values)
    assert places(root) == [("time_back", 1, 3)]


def test_an_image_that_cannot_be_read(tmp_path):
    root = shutil.copytree(GOLDEN / "v30_images", tmp_path / "set")
    file = root / "data/chunk-000/file-000.parquet"
    name = "observation.images.side"
    table = pq.read_table(file)
    cells = table[name].to_pylist()
    cells[7 + 2]["bytes"] = b"nothing"
    put(file, name, np.array(cells, object))
    assert places(root) == [("unreadable", 1, 2)]


def a_shard(folder: Path, robot="vx300s", **changes) -> Path:
    count = 24
    at = [pose(1, k) for k in range(count + 1)]
    arrays = {
        "front": np.stack([image(1, k, "front") for k in range(count)]),
        "wrist": np.stack([image(1, k, "wrist") for k in range(count)]),
        "state": np.array(at[:-1], np.float32),
        "action": np.diff(np.array(at), axis=0).astype(np.float32),
        "episode": np.repeat([0, 1], count // 2).astype(np.int32),
        "t": np.tile(np.arange(count // 2), 2).astype(np.int32),
    }
    write_shard(
        folder, arrays | changes, [["push it"]] * count, {"what": "episodes", "robot": robot}
    )
    return folder


def test_shards(tmp_path):
    a_shard(tmp_path / "shard_00000")
    a_shard(tmp_path / "shard_00001")
    assert places(tmp_path) == []
    state = np.array([pose(1, k) for k in range(24)], np.float32)
    state[12 + 4, 2] = np.inf
    shutil.rmtree(tmp_path / "shard_00001")
    a_shard(tmp_path / "shard_00001", state=state)
    assert places(tmp_path) == [("not_finite", 3, 4)]


def test_shards_of_two_robots_and_a_cut_one(tmp_path):
    a_shard(tmp_path / "shard_00000")
    a_shard(tmp_path / "shard_00001", robot="so101")
    assert [f[0] for f in places(tmp_path)] == ["mixed_robots"]
    file = tmp_path / "shard_00001" / "front.npy"
    file.write_bytes(file.read_bytes()[:500])
    assert places(tmp_path) == [("unreadable", 2, 0)]


def a_bag(folder: Path, messages, **custom) -> Path:
    bag = BagWriter(folder, {ROBOT: "so101", TASK: "fold it", **custom})
    bag.open()
    for message in messages:
        bag.write(message, (Qos(reliability="best_effort", depth=1),))
    bag.close()
    return folder


def pictures(count=30, *, change=lambda k: k, stamp=lambda k: k):
    """A camera at 30 Hz, its images by number."""
    return [
        make.image(
            "/static/image_raw", make.START + stamp(k) * 33 * MS, image(0, change(k), "front"),
            received_ns=make.START + k * 33 * MS,
        )
        for k in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        (pictures(), []),
        (pictures(stamp=lambda k: k - 3 if k == 12 else k), [("time_back", 0, 12)]),
        (pictures(stamp=lambda k: k + 20 if k > 11 else k), [("missing_frames", 0, 12)]),
        (pictures(change=lambda k: 8 if 8 <= k < 25 else k), [("frozen", 0, 9)]),
    ],
    ids=("clean", "stamps go back", "silent", "frozen"),
)
def test_bags(tmp_path, messages, found):
    assert places(a_bag(tmp_path / "bag", messages)) == found


def test_bags_of_two_robots_without_a_task(tmp_path):
    a_bag(tmp_path / "bags" / "a", pictures(8))
    a_bag(tmp_path / "bags" / "b", pictures(8), **{TASK: ""})
    assert places(tmp_path / "bags") == [("task", 1, None)]
    a_bag(tmp_path / "bags" / "c", pictures(8), **{ROBOT: "ur5e_servo"})
    assert places(tmp_path / "bags") == [("task", 1, None), ("mixed_robots", 2, None)]


def test_a_bag_that_is_cut_off_in_the_middle(tmp_path):
    folder = a_bag(tmp_path / "bag", pictures())
    (file,) = folder.glob("*.mcap")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    (found,) = check_data(folder)
    assert (found.level, found.code, found.episode) == ("error", "unreadable", 0)


def test_a_bag_lacks_a_topic_of_the_robot(tmp_path):
    folder = a_bag(tmp_path / "bag", pictures())
    (found,) = check_data(folder, "so101")
    assert found.code == "missing_frames" and "joint_states" in found.says


def test_a_recording_is_its_bags_and_its_set(clean, tmp_path):
    shutil.copytree(clean, tmp_path / "take" / "set")
    a_bag(tmp_path / "take" / "bags" / "episode-000000", pictures(change=lambda k: k // 16))
    assert [f.code for f in check_data(tmp_path / "take")] == ["frozen"]


def test_the_verb(clean, tmp_path, capsys):
    assert main(["data", "check", str(clean)]) == 0
    assert "nothing wrong found" in capsys.readouterr().out
    root = shutil.copytree(clean, tmp_path / "set")
    change_json(root / "meta/info.json", lambda d: d.update(total_frames=3))
    assert main(["data", "check", str(root), "--json", str(tmp_path / "found.json")]) == 1
    said = capsys.readouterr().out
    assert "total_frames 3" in said and "1 error, 0 warnings" in said
    document = json.loads((tmp_path / "found.json").read_text())
    assert (document["errors"], document["findings"][0]["code"]) == (1, "false_length")


def test_warnings_alone_are_no_failure_unless_strict(tmp_path):
    root = clean_set(tmp_path / "set", (20, 3))
    assert [f.level for f in check_data(root)] == ["warning"]
    assert main(["data", "check", str(root)]) == 0
    assert main(["data", "check", str(root), "--strict"]) == 1


def test_a_path_without_data_is_one_sentence(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path)]) != 0
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
