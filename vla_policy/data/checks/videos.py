"""One episode of a video file: times of its frames, and thumbnails, decoded in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from vla_policy.data.checks.finding import DataFinding, fault
from vla_policy.data.checks.pictures import HEIGHT, WIDTH
from vla_policy.embodiment.findings import count
from vla_policy.parsing.files import one_line
from vla_policy.types import Array

RATE = 0.01  # by which the step of a video may differ from 1 / fps
AGAIN = "Convert the bag again, or delete the episode with `vla data edit --delete`"


@dataclass(frozen=True, slots=True)
class VideoWindow:
    """Result for frames 0 to count - 1. times: float64[m] s, of those in the window, in order.

    total: number of frames stated in the file; 0 unknown. step: their usual interval in s; None
    for one frame. problem: why it could not be read to the end; ''. size: (height, width). ahead:
    where decoding had to begin late.
    """

    times: Array
    total: int
    step: float | None
    problem: str
    size: tuple[int, int]


def scan_video(
    path: Path,
    begin: float,
    count: int,
    fps: float,
    see: Callable[[Array], None] | None = None,
) -> VideoWindow:
    """Read count frames from begin s on.

    see: called with each thumbnail, in order; None: decode nothing.
    """
    times: list[float] = []
    total, size, problem = 0, (0, 0), ""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                return VideoWindow(np.zeros(0), 0, None, "has no video", size)
            stream = container.streams.video[0]
            total, size = int(stream.frames), (int(stream.height), int(stream.width))
            stream.codec_context.thread_count = 1
            end = begin + (count - 0.5) / fps
            for time, frame in _frames(container, stream, begin, fps, decode=see is not None):
                if time > end:
                    break
                times.append(time)
                if see is not None:
                    see(_thumbnail(frame))
    except (av.FFmpegError, OSError) as error:
        problem = one_line(error)
    found = np.sort(np.array(times, np.float64))
    step = float(np.median(np.diff(found))) if len(found) > 1 else None
    return VideoWindow(found, total, step, problem, size)


def _frames(
    container: Any, stream: Any, begin: float, fps: float, *, decode: bool
) -> Iterator[tuple[float, Any]]:
    """(time s, frame) from begin on; a packet instead of the frame if nothing is decoded."""
    if begin > 0:
        target = round((begin - 0.25 / fps) / stream.time_base)
        container.seek(max(target, 0), stream=stream, backward=True)
    for item in container.decode(stream) if decode else container.demux(stream):
        if item.pts is None:
            continue
        time = float(item.pts * stream.time_base)
        if time >= begin - 0.5 / fps:
            yield time, item


def _thumbnail(frame: Any) -> Array:
    """float32[24, 32, 3] YUV: the mean of each cell, from the planes if they are 4:2:0."""
    if frame.format.name not in ("yuv420p", "yuvj420p"):
        frame = frame.reformat(format="yuv420p")
    cells = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        cut = np.ascontiguousarray(rows[:, : plane.width]).astype(np.float32)
        cells.append(cv2.resize(cut, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
    return np.stack(cells, -1)


def check_window(
    camera: str, window: VideoWindow, begin: float, rows: int, fps: float
) -> Iterator[DataFinding]:
    """An episode's video against its rows: truncated, another rate, missing or too few frames."""
    times = window.times
    if window.problem or not len(times):
        where = f" after frame {len(times) - 1}" if len(times) else ""
        yield fault(
            "unreadable",
            f"the video of camera {camera} cannot be read{where}: {window.problem or 'no frame is there'}",
            "Restore the file from a copy, or convert the bag again; else delete the episode",
            frame=len(times),
            frames=rows - len(times),
        )
        return
    if window.step is not None and len(times) > 3 and not abs(window.step * fps - 1) <= RATE:
        yield fault(
            "false_fps",
            f"the video of camera {camera} has {1 / window.step:.2f} frames a second, the set states {fps:g}",
            "Encode it again at the rate of the rows: each row shows another moment than the video",
            frame=0,
            frames=rows,
        )
        return
    place = np.round((times - begin) * fps).astype(int)
    seen = np.zeros(rows, bool)
    seen[place[(place >= 0) & (place < rows)]] = True
    lacking = np.flatnonzero(~seen)
    if not len(lacking):
        return
    first = int(lacking[0])
    if first > int(place.max()):
        yield fault(
            "drift",
            f"the video of camera {camera} ends after {count(first, 'frame')}, there are {rows} rows",
            AGAIN,
            frame=first,
            frames=len(lacking),
        )
    else:
        yield fault(
            "missing_frames",
            f"the video of camera {camera} lacks {count(len(lacking), 'frame')}",
            AGAIN,
            frame=first,
            frames=len(lacking),
        )
