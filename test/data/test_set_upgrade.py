"""Sets of version 2.1 that lerobot wrote become sets of version 3.0 with the same values."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from vla_policy.data.conversion.set_upgrade import upgrade_set
from vla_policy.data.lerobot.reader import open_set

V21 = Path(__file__).resolve().parent.parent / "golden" / "lerobot_sets" / "v21"


def same(root: Path) -> None:
    old, new = open_set(V21), open_set(root)
    assert (old.version, new.version) == ("v2.1", "v3.0")
    assert (new.fps, new.robot_type, new.tasks) == (old.fps, old.robot_type, old.tasks)
    assert new.features == old.features
    assert len(new) == len(old)
    for episode, entry in enumerate(old.entries):
        assert new.entries[episode].tasks == entry.tasks
        rows, before = new.rows(episode), old.rows(episode)
        assert set(rows) == set(before)
        assert all(np.array_equal(rows[name], before[name]) for name in before)
        for camera, (video, _) in entry.videos.items():
            copy, begin = new.entries[episode].videos[camera]
            assert begin == 0.0
            assert copy.read_bytes() == video.read_bytes()
            assert np.array_equal(new.image(episode, 2, camera), old.image(episode, 2, camera))
    assert new.stats["reward"]["count"] == [len(old)]


def test_a_set_of_lerobot_keeps_every_value_and_every_byte_of_video(tmp_path):
    outcome = upgrade_set(V21, tmp_path / "set")
    assert (outcome.episodes, outcome.frames, outcome.skipped) == (3, 18, 0)
    same(tmp_path / "set")


def test_a_conversion_that_was_stopped_goes_on(tmp_path):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upgrade_set(V21, tmp_path / "set", tell=stop)
    assert len(open_set(tmp_path / "set").entries) == 2
    outcome = upgrade_set(V21, tmp_path / "set")
    assert (outcome.episodes, outcome.skipped) == (1, 2)
    same(tmp_path / "set")
    assert upgrade_set(V21, tmp_path / "set").episodes == 0


def test_what_does_not_fit_is_refused_in_one_sentence(tmp_path):
    upgrade_set(V21, tmp_path / "set")
    with pytest.raises(ValueError, match=r"is of version v3\.0 already"):
        upgrade_set(tmp_path / "set", tmp_path / "again")
    other = tmp_path / "other"
    shutil.copytree(V21, other)
    text = (other / "meta/info.json").read_text()
    (other / "meta/info.json").write_text(text.replace("paper_arm", "tin_arm"))
    with pytest.raises(ValueError, match="differs in robot_type from"):
        upgrade_set(other, tmp_path / "set")
    video = next((other / "videos").rglob("*side/episode_000001.mp4"))
    video.unlink()
    with pytest.raises(FileNotFoundError, match=r"episode_000001\.mp4"):
        upgrade_set(other, tmp_path / "third")
    assert len(open_set(tmp_path / "third").entries) == 1
