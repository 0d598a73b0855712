"""Open videos are kept for reuse, and so many only that their memory stays bounded."""

import numpy as np
from demonstrations import recorded_set

from vla_policy.data.lerobot import video_decoder
from vla_policy.data.lerobot.reader import open_set


def test_decoders_stay_open_within_their_bounds(tmp_path, monkeypatch):
    data = open_set(recorded_set(tmp_path / "set", (3,) * 4))
    places = [(e, n, c) for n in range(3) for e in range(4) for c in data.cameras]
    opened = []

    class Counted(video_decoder.VideoFile):
        def __init__(self, path, fps):
            super().__init__(path, fps)
            opened.append(path)

    monkeypatch.setattr(video_decoder, "VideoFile", Counted)
    free = [data.image(*place) for place in places]
    assert len(opened) == 8  # each once
    one = next(iter(data._videos._open.values())).held_bytes
    for name, bound in (("HELD_BYTES", 3 * one), ("OPEN_FILES", 3)):
        bounded = open_set(data.root)
        with monkeypatch.context() as patch:
            patch.setattr(video_decoder, name, bound)
            for place, image in zip(places, free, strict=True):
                assert np.array_equal(bounded.image(*place), image)
                assert len(bounded._videos._open) <= 3
                assert bounded._videos._held == one * len(bounded._videos._open)
