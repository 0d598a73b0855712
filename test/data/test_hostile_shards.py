"""Shards of training data from anywhere: each is refused in one sentence."""

from pathlib import Path

import numpy as np
from hostile_files import refusal

from vla_policy.data.shards import read_shard, write_shard


def test_shards_of_training(tmp_path: Path) -> None:
    arrays = {"state": np.zeros((2, 3), np.float32)}
    write_shard(tmp_path / "shard", arrays, [["a"], ["b"]], {})
    good = (tmp_path / "shard" / "state.npy").read_bytes()
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    for data in (
        b"",
        good[:40],
        good.replace(b"(2, 3)", b"(9, 9)"),
        objects.read_bytes(),
        b"\0" * 99,
    ):
        (tmp_path / "shard" / "state.npy").write_bytes(data)
        assert "state.npy: not a readable array" in refusal(lambda: read_shard(tmp_path / "shard"))
    (tmp_path / "shard" / "state.npy").write_bytes(good)
    for text_ in ("{}", "[[1]]", "[" * 99_999):
        (tmp_path / "shard" / "texts.json").write_text(text_)
        assert "texts.json" in refusal(lambda: read_shard(tmp_path / "shard"))
