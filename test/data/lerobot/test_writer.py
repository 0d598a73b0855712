"""The writer: what it puts on the disk, what it refuses, and what it cannot lose."""

import errno
import json
import os
import threading
import time
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from demonstrations import FPS, ROBOT, frame, record, recorded_set, require_same, written_set

from vla_policy.data.lerobot import transaction
from vla_policy.data.lerobot.durable import Busy, DiskFull
from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.lerobot.recover import recover
from vla_policy.data.lerobot.writer import SetWriter
from vla_policy.embodiment.layout import layout_of
from vla_policy.embodiment.load import load_embodiment


def test_what_was_recorded_is_read_in_any_order(tmp_path):
    data = open_set(recorded_set(tmp_path / "set", (7, 5, 6)))
    assert (len(data), data.fps, data.robot_type, data.cameras) == (
        18,
        FPS,
        "vx300s",
        ROBOT.camera_names,
    )
    assert (data.state_names, data.action_names) == (ROBOT.state_names, ROBOT.action_names)
    places = [(e, n) for e, length in enumerate((7, 5, 6)) for n in range(length)]
    for index in np.random.default_rng(1).permutation(len(data)).tolist():
        require_same(data.frame(index), frame(*places[index]))
    assert [data.frame(i).task for i in (0, 7, 12)] == ["push", "lift", "push"]
    assert [data.success(e) for e in range(3)] == [None, True, False]
    episode = data.episode(1)
    assert (len(episode), episode.task, episode.robot) == (5, "lift", "name: vx300s\n")
    assert episode.start_ns == frame(1, 0).stamp_ns
    require_same(episode.frames[-1], frame(1, 4))


def test_the_files_are_those_of_the_format(tmp_path):
    root = recorded_set(tmp_path / "set", (4, 3))
    info = json.loads((root / "meta/info.json").read_text())
    assert (info["codebase_version"], info["total_episodes"], info["total_frames"]) == (
        "v3.0",
        2,
        7,
    )
    assert info["splits"] == {"train": "0:2"}
    tasks = pq.read_table(root / "meta/tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert tasks.to_pydict() == {"task_index": [0, 1], "task": ["push", "lift"]}
    rows = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [
        (r["dataset_from_index"], r["dataset_to_index"], r["data/file_index"]) for r in rows
    ] == [
        (0, 4, 0),
        (4, 7, 1),
    ]
    assert rows[1]["videos/observation.images.front/to_timestamp"] == 0.3
    table = pq.read_table(root / "data/chunk-000/file-001.parquet")
    assert table["index"].to_pylist() == [4, 5, 6]
    assert np.allclose(table["timestamp"].to_pylist(), [0, 0.1, 0.2])
    assert set(table.column_names) == {
        n for n, f in info["features"].items() if f["dtype"] != "video"
    }


def test_the_same_frames_give_the_same_bytes(tmp_path):
    one, other = (written_set(tmp_path / name, (9,)) for name in ("one", "other"))
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file() and p.name != "lock")
    assert len(files) > 8
    assert [p for p in files if (one / p).read_bytes() != (other / p).read_bytes()] == []


def test_statistics_are_those_of_all_rows_and_not_of_the_parts(tmp_path):
    data = open_set(recorded_set(tmp_path / "set", (30, 11, 3)))
    rows = np.concatenate([data.rows(e)["action"] for e in range(3)]).astype(float)
    for name, share in (("q01", 0.01), ("q50", 0.5), ("q99", 0.99)):
        assert np.allclose(data.stats["action"][name], np.quantile(rows, share, axis=0))
    assert np.allclose(data.stats["action"]["std"], rows.std(0))
    proposed = np.concatenate([data.rows(e)["proposed_action"] for e in range(3)])
    assert data.stats["proposed_action"]["count"] == [int(np.isfinite(proposed).all(1).sum())]
    assert np.shape(data.stats["observation.images.front"]["q10"]) == (3, 1, 1)
    assert data.stats["observation.images.front"]["max"][0][0][0] == pytest.approx(
        229 / 255, abs=0.1
    )


def test_an_episode_more_after_a_restart(tmp_path):
    root = recorded_set(tmp_path / "set", (4, 3))
    with SetWriter(root, ROBOT, FPS) as again:
        assert (again.episodes, again.recovered) == (2, [])
        assert record(again, 2, 5, task="lift").index == 2
    data = open_set(root)
    assert (len(data), data.tasks) == (12, ("push", "lift"))
    require_same(data.frame(11), frame(2, 4))
    assert data.frame(11).task == "lift"


def test_more_episodes_than_a_file_of_their_rows_holds(tmp_path, monkeypatch):
    monkeypatch.setattr("vla_policy.data.lerobot.layout.EPISODES_IN_FILE", 2)
    root = written_set(tmp_path / "set", (2, 1, 2, 1, 2))
    assert len(list((root / "meta/episodes").rglob("*.parquet"))) == 3
    with SetWriter(root, ROBOT, FPS) as again:
        assert again.delete_last() == 4
        record(again, 7, 3)
    data = open_set(root)
    assert [e.length for e in data.entries] == [2, 1, 2, 1, 3]
    require_same(data.frame(8), frame(7, 2))


def test_discarded_and_deleted_episodes_leave_nothing(tmp_path):
    root = tmp_path / "set"
    with SetWriter(root, ROBOT, FPS) as recording:
        record(recording, 0, 3)
        before = {p: p.read_bytes() for p in root.rglob("*") if p.suffix in (".mp4", ".parquet")}
        recording.begin("never mind")
        recording.add(frame(5, 0))
        recording.discard()
        record(recording, 1, 4)
        assert recording.delete_last() == 1
        with pytest.raises(ValueError, match="no episode is open"):
            recording.save()
    after = {p: p.read_bytes() for p in root.rglob("*") if p.suffix in (".mp4", ".parquet")}
    assert {p for p in after if p.name != "tasks.parquet"} == {
        p for p in before if p.name != "tasks.parquet"
    }
    assert len(open_set(root)) == 3


def test_the_last_of_all_episodes_is_deleted(tmp_path):
    root = recorded_set(tmp_path / "set", (2,))
    with SetWriter(root, ROBOT, FPS) as again:
        again.delete_last()
        with pytest.raises(ValueError, match="no episode to delete"):
            again.delete_last()
    assert len(open_set(root)) == 0
    with SetWriter(root, ROBOT, FPS) as again:
        record(again, 4, 2)
    require_same(open_set(root).frame(1), frame(4, 1))


def test_two_recorders_at_one_folder(tmp_path):
    with SetWriter(tmp_path / "set", ROBOT, FPS) as first:
        for attempt in (
            lambda: SetWriter(tmp_path / "set", ROBOT, FPS),
            lambda: recover(tmp_path / "set"),
        ):
            with pytest.raises(
                Busy, match=f"process {os.getpid()} records or changes this data set"
            ):
                attempt()
        record(first, 0, 2)
    SetWriter(tmp_path / "set", ROBOT, FPS).close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"robot_type": "ur5e"}, "robot_type 'ur5e', expected 'vx300s'"),
        ({"fps": 30}, "fps 30, expected 10"),
        ({"codebase_version": "v2.1"}, "version v2.1, expected v3.0"),
    ],
)
def test_a_set_of_another_robot_is_not_added_to(tmp_path, change, said):
    root = recorded_set(tmp_path / "set", (2,))
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | change))
    with pytest.raises(ValueError, match=said):
        SetWriter(root, ROBOT, FPS)


def test_a_set_of_other_columns_is_not_added_to(tmp_path):
    root = recorded_set(tmp_path / "set", (2,))
    with pytest.raises(ValueError, match=r"other columns \(observation.images.wrist\)"):
        SetWriter(root, ROBOT, FPS, cameras=["front"])


def test_frames_that_do_not_fit_are_refused(tmp_path):
    with SetWriter(tmp_path / "set", ROBOT, FPS) as recording:
        recording.begin("push")
        with pytest.raises(ValueError, match="camera front: got 63 x 47 pixels, expected even"):
            recording.add(frame(0, 0, size=(47, 63)))
        recording.add(frame(0, 0))
        with pytest.raises(ValueError, match="camera front: got 96 x 48 pixels, expected 64 x 48"):
            recording.add(frame(0, 1, size=(48, 96)))
        assert recording.add(frame(0, 1))
        assert recording.save().length == 2


def test_an_encoder_that_is_too_slow_is_told_and_the_episode_is_not_saved(tmp_path):
    with SetWriter(tmp_path / "set", ROBOT, FPS, queue_frames=1) as recording:
        recording.begin("push")
        big = frame(0, 0, size=(720, 1280))
        taken = 0
        while recording.add(big):
            taken += 1
            assert taken < 500
        assert not recording.add(big)
        with pytest.raises(ValueError, match=r"frames behind at frame .* a frame was lost"):
            recording.save()
        recording.discard()
        record(recording, 0, 2)


def test_a_disk_that_is_full_when_saving_costs_nothing(tmp_path, monkeypatch):
    root = tmp_path / "set"
    with SetWriter(root, ROBOT, FPS) as recording:
        record(recording, 0, 3)
        recording.begin("push")
        for number in range(4):
            recording.add(frame(1, number))

        def full(path, data):
            raise DiskFull(f"{path}: no room on the disk")

        with monkeypatch.context() as patch:
            patch.setattr(transaction, "write_file", full)
            with pytest.raises(DiskFull, match="no room"):
                recording.save()
        assert len(open_set(root)) == 3
        assert recording.save(success=True).index == 1
    require_same(open_set(root).frame(6), frame(1, 3))


@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize("moved", range(11))
def test_a_save_that_is_cut_off_anywhere_is_finished_at_the_next_start(
    tmp_path, monkeypatch, moved, ready
):
    """The process ends after `moved` files of the change are in their places; each state opens as it is."""
    root = recorded_set(tmp_path / "set", (3,))
    done = 0
    replace = os.replace

    def until(source, target):
        nonlocal done
        if "/.recording/" in str(source) and "/.recording/" not in str(target):
            if done == moved:
                raise KeyboardInterrupt
            done += 1
        replace(source, target)

    recording = SetWriter(root, ROBOT, FPS)
    recording.begin("lift")
    for number in range(4):
        recording.add(frame(1, number))
    if ready:
        get_ready(recording)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", until)
        try:
            recording.save(success=True)
            whole = True
        except KeyboardInterrupt:
            whole = False
    recording._lock.close()  # what the end of the process does
    assert whole == (moved >= 9)
    assert len(open_set(root)) == (7 if whole else 3)
    require_same(open_set(root).frame(2), frame(0, 2))
    told = recover(root)
    assert told == [] if whole else "episode 1 (4 frames) was completed" in told[0]
    data = open_set(root)
    assert (len(data), data.success(1), recover(root)) == (7, True, [])
    require_same(data.frame(6), frame(1, 3))


def test_a_deletion_that_is_cut_off_is_finished(tmp_path, monkeypatch):
    root = recorded_set(tmp_path / "set", (3, 4))
    recording = SetWriter(root, ROBOT, FPS)
    with monkeypatch.context() as patch:
        patch.setattr(transaction, "finish", lambda root: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            recording.delete_last()
    recording._lock.close()
    assert len(open_set(root)) == 3
    assert list(root.rglob("file-001.*"))  # which nothing names any more
    assert "episode 1 was deleted" in recover(root)[0]
    assert len(open_set(root)) == 3
    assert not list(root.rglob("file-001.*"))


def test_an_episode_that_was_not_saved_is_dropped_with_a_sentence(tmp_path):
    root = recorded_set(tmp_path / "set", (3,))
    left = SetWriter(root, ROBOT, FPS)
    left.begin("push")
    left.add(frame(1, 0))
    while len(list((root / ".recording" / "take").iterdir())) < len(ROBOT.cameras):
        pass  # its encoders are threads
    left._lock.close()
    with SetWriter(root, ROBOT, FPS) as again:
        assert "an episode that was not saved was dropped (front.mp4" in again.recovered[0]


def test_columns_are_those_that_are_executed(tmp_path):
    """A robot whose policy gives steps and rotation vectors is recorded in positions and quaternions."""
    robot = load_embodiment("panda_cartesian")
    columns = layout_of(robot).names
    assert len(columns) != len(robot.action_names)
    measured = replace(frame(0, 0), state=np.zeros(len(robot.state_names)))
    with SetWriter(tmp_path / "set", robot, FPS, cameras=["front"]) as recording:
        recording.begin("push")
        with pytest.raises(ValueError, match=f"got 7 columns of action, expected {len(columns)}"):
            steps = np.zeros(len(robot.action_names))
            recording.add(replace(measured, action=steps, proposed=steps))
        executed = np.zeros(len(columns))
        assert recording.add(replace(measured, action=executed, proposed=executed))
        recording.save()
    assert open_set(tmp_path / "set").action_names == columns


def test_a_restart_between_episodes_changes_no_byte(tmp_path):
    """A set that was written in two sittings is the one that was written in one."""
    written_set(tmp_path / "one", (4, 3, 5))
    written_set(tmp_path / "two", (4, 3))
    with SetWriter(tmp_path / "two", ROBOT, FPS) as again:
        record(again, 2, 5, task="push", success=False)
    files = {
        name: {
            p.relative_to(tmp_path / name): p.read_bytes()
            for p in (tmp_path / name).rglob("*.*")
            if p.is_file()
        }
        for name in ("one", "two")
    }
    assert [p for p, data in files["one"].items() if files["two"].get(p) != data] == []


def test_after_its_end_an_episode_takes_no_frame_and_its_videos_close_while_somebody_decides(
    tmp_path,
):
    with SetWriter(tmp_path / "set", ROBOT, FPS) as recording:
        with pytest.raises(ValueError, match="no episode is open"):
            recording.end()
        recording.begin("push")
        for number in range(3):
            assert recording.add(frame(0, number))
        recording.end()
        with pytest.raises(ValueError, match="has ended; save or discard it"):
            recording.add(frame(0, 3))
        files = [recording.take_folder / f"{camera}.mp4" for camera in recording.cameras]
        end = time.monotonic() + 10.0
        while not all(whole(path) for path in files) and time.monotonic() < end:
            time.sleep(0.01)
        assert all(whole(path) for path in files)
        assert (recording.save(True).length, recording.waiting) == (3, 0)
    assert len(open_set(tmp_path / "set")) == 3


def whole(path) -> bool:
    """Whether a video has its index, which is written last."""
    return path.exists() and b"moov" in path.read_bytes()


def test_a_video_that_cannot_be_closed_is_told_and_holds_nobody_up(tmp_path, monkeypatch):
    """What fails after the last frame fails where nothing more is to come."""

    def refuse(path):
        raise OSError(errno.ENOSPC, "full", str(path))

    monkeypatch.setattr("vla_policy.data.lerobot.video_encoder.sync_file", refuse)
    with SetWriter(tmp_path / "set", ROBOT, FPS) as recording:
        recording.begin("push")
        recording.add(frame(0, 0))
        with pytest.raises(DiskFull, match="no room on the disk"):
            recording.save()
        recording.discard()
        assert recording.episodes == 0


def test_an_encoder_has_room_for_its_last_word_when_it_is_full(tmp_path):
    with SetWriter(tmp_path / "set", ROBOT, FPS, queue_frames=1) as recording:
        recording.begin("push")
        while recording.add(frame(0, recording.frames)):
            pass
        recording.end()  # waits for nothing
        recording.discard()


def get_ready(recording) -> None:
    """End the open episode, and make ready all that save() will put in place."""
    recording.end()
    end = time.monotonic() + 20.0
    while recording.unready and time.monotonic() < end:
        recording.get_ready()
        time.sleep(0.001)
    assert not recording.unready


def all_bytes(root):
    """path -> content of every file of a set."""
    files = (p for p in root.rglob("*.*") if p.is_file() and ".recording" not in p.parts)
    return {p.relative_to(root): p.read_bytes() for p in files}


@pytest.mark.parametrize("success", [None, True, False])
def test_an_episode_that_was_made_ready_is_saved_by_renaming_and_has_the_same_bytes(
    tmp_path, monkeypatch, success
):
    def late(path, data):
        raise AssertionError(f"{path} is written while somebody waits")

    for name in ("ready", "at_once"):
        with SetWriter(tmp_path / name, ROBOT, FPS) as recording:
            record(recording, 0, 3)
            recording.begin("lift")
            for number in range(4):
                recording.add(frame(1, number), wait=True)
            with monkeypatch.context() as patch:
                if name == "ready":
                    get_ready(recording)
                    patch.setattr(transaction, "write_file", late)
                assert recording.save(success).index == 1
            record(recording, 2, 2)
    assert all_bytes(tmp_path / "ready") == all_bytes(tmp_path / "at_once")
    assert open_set(tmp_path / "ready").success(1) is success


def test_getting_ready_waits_for_no_encoder_and_a_discarded_episode_leaves_nothing(tmp_path):
    root = tmp_path / "set"
    with SetWriter(root, ROBOT, FPS) as recording:
        record(recording, 0, 3)
        before = all_bytes(root)
        recording.begin("push")
        recording.get_ready()  # nothing is to be saved yet
        assert not recording.unready
        go_on = threading.Event()
        recording.add(frame(1, 0))
        slow = next(iter(recording._take.encoders.values()))
        run, slow._next = slow._next, lambda: go_on.wait(20.0) and run()
        recording.add(frame(1, 1))
        recording.end()
        recording.get_ready()
        assert recording.unready and not list(root.rglob("ready/*"))
        go_on.set()
        get_ready(recording)
        assert len(list(root.rglob("ready/*"))) == 3
        recording.discard()
        assert all_bytes(root) == before
        assert [p.name for p in (root / ".recording").iterdir()] == ["lock"]


def test_what_a_save_left_to_be_synced_is_done_before_the_next_take_has_files(
    tmp_path, monkeypatch
):
    """Else a kill in that take would put its video in the place of the saved one's."""
    root = tmp_path / "set"
    journal = root / ".recording" / "change" / "change.json"
    with SetWriter(root, ROBOT, FPS) as recording:
        record(recording, 0, 3)
        assert journal.exists() and recording.unready
        recording.begin("push")
        assert not journal.exists() and not recording.unready
        recording.discard()
        record(recording, 1, 3)
        recording.get_ready()  # what a recorder does when it has nothing else to do
        assert not journal.exists() and not recording.unready
        record(recording, 2, 3)

        def refuse(folder):
            raise OSError(errno.EIO, "broken", str(folder))

        with monkeypatch.context() as patch:
            patch.setattr("vla_policy.data.lerobot.durable.sync_folder", refuse)
            recording.get_ready()
            assert not recording.unready  # not again and again
            with pytest.raises(OSError, match="broken"):
                recording.begin("push")
        recording.begin("push")
        recording.discard()
    assert len(open_set(root)) == 9


def test_a_disk_that_is_full_before_the_decision_is_told_by_the_save(tmp_path, monkeypatch):
    """And what was made ready of it takes no room from the answer that comes."""
    root = tmp_path / "set"

    def full(path, data):
        if "success" in str(path):
            raise DiskFull(f"{path}: no room on the disk")
        path.write_bytes(data)

    with SetWriter(root, ROBOT, FPS) as recording:
        recording.begin("push")
        recording.add(frame(0, 0))
        with monkeypatch.context() as patch:
            patch.setattr(transaction, "write_file", full)
            get_ready(recording)
            assert not list(root.rglob("ready/*"))
            with pytest.raises(DiskFull, match="no room"):
                recording.save(True)
            assert recording.save(False).index == 0
    assert open_set(root).success(0) is False


def test_what_was_only_made_ready_is_not_saved(tmp_path):
    root = recorded_set(tmp_path / "set", (3,))
    recording = SetWriter(root, ROBOT, FPS)
    recording.begin("push")
    recording.add(frame(1, 0))
    get_ready(recording)
    recording._lock.close()  # what the end of the process does
    assert len(open_set(root)) == 3
    with SetWriter(root, ROBOT, FPS) as again:
        assert "an episode that was not saved was dropped (front.mp4" in again.recovered[0]
        assert again.episodes == 1 and not (root / ".recording" / "ready").exists()
