"""Files go to the disk while they are written, and once more when that ends."""

import os
import threading

from vla_policy.data import early_sync
from vla_policy.data.early_sync import EarlySync

LONG_S = 10.0


def test_files_are_synced_while_they_grow_and_at_once_at_the_end(tmp_path, monkeypatch):
    synced, seen = [], threading.Condition()

    def fdatasync(handle):
        with seen:
            synced.append(os.fstat(handle).st_ino)
            seen.notify_all()

    monkeypatch.setattr(early_sync.os, "fdatasync", fdatasync)
    early = EarlySync(every_s=0.01)
    early.begin([tmp_path / "bag", tmp_path / "take"])  # one is not there, and stays away
    (tmp_path / "take").mkdir()
    video = tmp_path / "take" / "front.mp4"
    video.write_bytes(b"x")
    inode = video.stat().st_ino
    with seen:
        assert seen.wait_for(lambda: synced.count(inode) >= 2, LONG_S)
    early.end()
    early.close()
    after = len(synced)
    early_slow = EarlySync(every_s=LONG_S)
    early_slow.begin([tmp_path / "take"])
    early_slow.end()
    with seen:
        assert seen.wait_for(lambda: len(synced) > after, LONG_S / 2), "not at once"
    early_slow.close()
