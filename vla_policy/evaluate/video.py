"""Images of a run: a contact sheet with one row per task, and a video. No ROS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vla_policy.types import Array

BAR_PX = 26
GAP_PX = 4
PAPER, INK = (250, 250, 248), (30, 30, 30)
# Constant quality, quickly.
WEBM = (("crf", "42"), ("b", "0"), ("deadline", "good"), ("cpu-used", "5"))
GOOD, BAD = (20, 130, 60), (180, 40, 40)


@dataclass(frozen=True, slots=True)
class Strip:
    """One task: a title, whether it succeeded, and frames uint8[h, w, 3] in temporal order."""

    title: str
    success: bool
    frames: tuple[Array, ...]


def contact_sheet(strips: Sequence[Strip], *, columns: int = 6, width_px: int = 200) -> Array:
    """One row per strip with `columns` frames evenly over its time: uint8[h, w, 3].

    Raises ValueError if no strip has a frame.
    """
    rows = [_row(strip, columns, width_px) for strip in strips if strip.frames]
    if not rows:
        raise ValueError("a contact sheet of no frames")
    return np.concatenate(rows, axis=0)


def write_png(path: Path, image: Array) -> None:
    """Save uint8[h, w, 3] RGB."""
    Image.fromarray(image).save(path)


def write_video(path: Path, strips: Sequence[Strip], *, hz: float) -> None:
    """Save all strips one after another as MP4 (MPEG-4 part 2), each frame with its title.

    Raises ValueError if there is no frame, OSError if this OpenCV cannot write the file.
    """
    frames = [_titled(frame, strip) for strip in strips for frame in strip.frames]
    if not frames:
        raise ValueError("a video of no frames")
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), hz, (width, height))
    if not writer.isOpened():
        raise OSError(f"this OpenCV has no MPEG-4 writer; no video at {path}")
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def write_webm(path: Path, frames: Sequence[Array], *, hz: float) -> None:
    """Save frames uint8[h, w, 3] of even sides as WebM (VP9), which every browser plays; whole or not at all.

    Raises ModuleNotFoundError without PyAV, ValueError if there is no frame.
    """
    import av

    if not frames:
        raise ValueError(f"{path}: a film of no frames")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    height, width = frames[0].shape[:2]
    with av.open(str(partial), "w", format="webm") as container:
        stream = container.add_stream("libvpx-vp9", rate=round(hz), options=dict(WEBM))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    partial.replace(path)


def _row(strip: Strip, columns: int, width_px: int) -> Array:
    chosen = np.linspace(0, len(strip.frames) - 1, columns).round().astype(int)
    small = [_scaled(strip.frames[k], width_px) for k in chosen]
    height = small[0].shape[0]
    row = np.full((height + GAP_PX, columns * (width_px + GAP_PX), 3), PAPER, np.uint8)
    for k, frame in enumerate(small):
        left = k * (width_px + GAP_PX)
        row[:height, left : left + width_px] = frame
    return np.concatenate((_bar(strip, row.shape[1]), row), axis=0)


def _titled(frame: Array, strip: Strip) -> Array:
    titled = np.concatenate((_bar(strip, frame.shape[1]), frame), axis=0)
    # MPEG-4 requires even sizes.
    return np.ascontiguousarray(titled[: titled.shape[0] // 2 * 2, : titled.shape[1] // 2 * 2])


def _scaled(frame: Array, width_px: int) -> Array:
    height_px = round(frame.shape[0] * width_px / frame.shape[1])
    scaled: Array = cv2.resize(frame, (width_px, height_px), interpolation=cv2.INTER_AREA)
    return scaled


def _bar(strip: Strip, width_px: int) -> Array:
    bar = Image.new("RGB", (width_px, BAR_PX), PAPER)
    draw = ImageDraw.Draw(bar)
    draw.ellipse((7, 8, 17, 18), fill=GOOD if strip.success else BAD)
    draw.text((25, 6), strip.title, fill=INK, font=ImageFont.load_default(13))
    return np.asarray(bar)
