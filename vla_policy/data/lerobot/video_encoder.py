"""One camera of one episode to one mp4 file, in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import av
import cv2
import numpy as np

from vla_policy.data.background import ENCODING, give_way
from vla_policy.data.lerobot.durable import NO_ROOM, no_room, sync_file
from vla_policy.data.lerobot.statistics import PixelHistogram
from vla_policy.types import Array

# One thread and no look-ahead, so that the same frames give the same bytes; every second frame is
# a key frame, so that decoding any frame takes at most two.
H264 = MappingProxyType(
    {"preset": "ultrafast", "tune": "zerolatency", "crf": "18", "g": "2", "bf": "0"}
)
STRIDE = 4  # every fourth frame counts in the statistics of images


@dataclass(frozen=True, slots=True)
class EncodedVideo:
    """path: of the closed file. frames: their number. histogram: of the pixels of some frames."""

    path: Path
    frames: int
    histogram: PixelHistogram


class VideoEncoder:
    """Encodes the frames of put() in its own thread; end() closes the file, finish() waits for it.

    capacity: frames that may wait. Single producer.
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: int,
        shape: tuple[int, int],
        capacity: int,
        options: Mapping[str, str] = H264,
    ) -> None:
        self.path, self.shape = path, shape
        self._fps, self._options = fps, dict(options)
        self._capacity = capacity
        # One slot more than for frames, so that end() never waits.
        self._queue: queue.Queue[Array | None] = queue.Queue(capacity + 1)
        self._problem: BaseException | None = None
        self._abandoned = self._ended = self._emptied = False
        self._frames = 0
        self._histogram = PixelHistogram.empty()
        self._thread = threading.Thread(target=self._run, name=f"encode {path.name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of frames not encoded yet."""
        last = self._ended and not self._emptied  # the end marker is no frame
        return max(0, self._queue.qsize() - last)

    @property
    def problem(self) -> str:
        """Why the video cannot be finished; '' if it can."""
        return str(self._problem) if self._problem else ""

    @property
    def is_done(self) -> bool:
        """Whether finish() has nothing to wait for."""
        return self._ended and not self._thread.is_alive()

    def put(self, image: Array, *, wait: bool) -> bool:
        """Add uint8[h, w, 3] RGB, read-only; False if the queue is full."""
        if not wait and self._queue.qsize() >= self._capacity:
            return False
        self._queue.put(image)
        return True

    def end(self) -> None:
        """No more frames: the waiting ones are encoded, then the file is closed and synced."""
        if not self._ended:
            self._ended = True
            self._queue.put(None)

    def finish(self) -> EncodedVideo:
        """End, and wait until the file is on disk.

        Raises the encoder's error, DiskFull among them.
        """
        self.end()
        self._thread.join()
        if self._problem is not None:
            raise self._problem
        return EncodedVideo(self.path, self._frames, self._histogram)

    def abandon(self) -> None:
        """End the thread without encoding waiting frames."""
        self._abandoned = True
        self.end()
        self._thread.join()

    def _run(self) -> None:
        give_way(ENCODING)
        try:
            self._encode()
            if not self._abandoned:
                sync_file(self.path)
        except OSError as error:
            self._problem = no_room(self.path, error) if error.errno in NO_ROOM else error
        except Exception as error:  # noqa: BLE001 - told by finish()
            self._problem = error
        if self._problem is not None:
            while self._next() is not None:  # a failed encoder must not block the producer
                pass

    def _next(self) -> Array | None:
        """The next frame; None, repeatedly, after the last one."""
        image = None if self._emptied else self._queue.get()
        self._emptied |= image is None
        return image

    def _encode(self) -> None:
        height, width = self.shape
        with av.open(str(self.path), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=self._fps, options=self._options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.thread_count = 1
            while (image := self._next()) is not None:
                if self._abandoned:
                    continue
                if self._frames % STRIDE == 0:
                    self._histogram = self._histogram.with_image(image)
                # OpenCV converts ten times faster than the scaler of FFmpeg.
                planes = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420))
                frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
                frame.pts = self._frames
                container.mux(stream.encode(frame))
                self._frames += 1
            container.mux(stream.encode(None))
