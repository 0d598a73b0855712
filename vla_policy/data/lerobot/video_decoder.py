"""Single frames of mp4 files, by time; decoding starts at the previous key frame."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakSet

import av
import numpy as np

from vla_policy.parsing.files import MIB, one_line, require_file
from vla_policy.types import Array

OPEN_FILES = 256
HELD_BYTES = 256 * MIB  # of images in open decoders, approximately
PICTURES_HELD = 10  # images in each of them
_LIVING: WeakSet[VideoFile] = WeakSet()
_INHERITED: list[VideoFile] = []
# A decoder that was open at a fork must not be closed in the child: its threads are missing there.
os.register_at_fork(after_in_child=lambda: _INHERITED.extend(_LIVING))


class VideoFile:
    """One open video. at(t) is fastest for frames in order. Raises ValueError naming the file."""

    def __init__(self, path: Path, fps: int) -> None:
        require_file(path)
        self._path, self._tolerance = path, 0.5 / fps
        self._last: tuple[float, Array] | None = None
        self._frames: Iterator[Any] | None = None
        try:
            self._container = av.open(str(path))
            if not self._container.streams.video:
                raise ValueError(f"{path}: got a file without a video, expected one")
            self._stream = self._container.streams.video[0]
        except av.FFmpegError as error:
            raise ValueError(
                f"{path}: not a readable video (cut off?): {one_line(error)}"
            ) from error
        # One thread: several workers share the cores already, and a fork loses threads.
        self._stream.codec_context.thread_count = 1
        _LIVING.add(self)

    @property
    def held_bytes(self) -> int:
        """Approximate memory of the decoder: some images of one and a half bytes per pixel."""
        return int(self._stream.width * self._stream.height * 3 // 2 * PICTURES_HELD)

    def at(self, seconds: float) -> Array:
        """uint8[h, w, 3] RGB of the frame at a time of the file, within half a frame."""
        try:
            return self._at(seconds)
        except av.FFmpegError as error:
            self._frames = None
            raise ValueError(
                f"{self._path}: not readable at {seconds:.3f} s (cut off?): {one_line(error)}"
            ) from error

    def _at(self, seconds: float) -> Array:
        if self._last is not None and abs(self._last[0] - seconds) < self._tolerance:
            return self._last[1]
        ahead = self._last is not None and 0 < seconds - self._last[0] < 4 * self._tolerance
        if self._frames is None or not ahead:
            target = round((seconds - self._tolerance / 4) / self._stream.time_base)
            self._container.seek(max(target, 0), stream=self._stream, backward=True)
            self._frames = self._container.decode(self._stream)
        for frame in self._frames:
            time = float(frame.pts * self._stream.time_base) if frame.pts is not None else None
            if time is None or time < seconds - self._tolerance:
                continue
            if time > seconds + self._tolerance:
                break
            image: Array = np.asarray(frame.to_ndarray(format="rgb24"))
            image.setflags(write=False)
            self._last = (time, image)
            return image
        self._frames, self._last = None, None
        raise ValueError(f"{self._path}: no frame at {seconds:.3f} s (cut off?)")

    def close(self) -> None:
        self._container.close()


class Videos:
    """The most recently used videos, open. Pickled without the open ones."""

    def __init__(self, fps: int) -> None:
        self._fps = fps
        self._open: OrderedDict[Path, VideoFile] = OrderedDict()
        self._held = 0
        self._process = os.getpid()

    def frame(self, path: Path, seconds: float) -> Array:
        """uint8[h, w, 3] RGB, read-only. Raises FileNotFoundError, or ValueError naming the file."""
        if self._process != os.getpid():  # forked: a decoder belongs to the process that opened it
            self._open, self._held, self._process = OrderedDict(), 0, os.getpid()
        if path not in self._open:
            video = VideoFile(path, self._fps)
            self._held += video.held_bytes
            while self._open and (len(self._open) >= OPEN_FILES or self._held > HELD_BYTES):
                oldest = self._open.popitem(last=False)[1]
                self._held -= oldest.held_bytes
                oldest.close()
            self._open[path] = video
        self._open.move_to_end(path)
        return np.asarray(self._open[path].at(seconds))

    def __getstate__(self) -> dict[str, Any]:
        return {"_fps": self._fps, "_open": OrderedDict(), "_held": 0, "_process": 0}
