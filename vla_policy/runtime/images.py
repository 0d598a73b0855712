"""Raw and compressed camera pixels to uint8[h, w, 3] RGB. Needs numpy; OpenCV for compressed ones.

cv_bridge is not used, even where it is installed: it adds no encoding that is needed here, depends
on a second OpenCV, and its conversions of generic encodings (8UC3) are guesses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vla_policy.types import Array

MAX_SIDE_PX = 8192
MAX_COMPRESSED_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """One encoding. to_rgb takes dtype[h, w, channels] and returns uint8[h, w, 3]."""

    channels: int
    bits: int
    to_rgb: Callable[[Array], Array]
    even_width: bool = False


def require_encoding(encoding: str, where: str) -> PixelFormat:
    """How pixels of that encoding are read. Raises ValueError for an unsupported one."""
    pixel = ENCODINGS.get(encoding.lower())
    if pixel is None:
        hint = next(
            (why for part, why in REFUSED.items() if part in encoding.lower()), "it is not known"
        )
        raise ValueError(
            f"{where}: image of encoding {encoding!r} is refused: {hint}; "
            f"expected one of {', '.join(ENCODINGS)}"
        )
    return pixel


def decode_raw(
    data: bytes | memoryview | Array,
    encoding: str,
    *,
    height: int,
    width: int,
    step: int,
    bigendian: bool = False,
    where: str = "image",
) -> Array:
    """Pixels of a sensor_msgs/Image as a new uint8[height, width, 3] RGB.

    step: bytes from one row to the next, at least the width of a row; the rest is padding.
    Raises ValueError, naming where and encoding, for any mismatch with the description.
    """
    what = f"{where}: image of encoding {encoding!r}"
    pixel = require_encoding(encoding, where)
    _require_size(what, width, height)
    if pixel.even_width and width % 2:
        raise ValueError(f"{what}: got width {width}, expected an even number")
    row_bytes = width * pixel.channels * pixel.bits // 8
    if not row_bytes <= step <= MAX_SIDE_PX * 16:
        raise ValueError(
            f"{what}: got step {step}, expected at least {row_bytes} for width {width}"
        )
    flat = np.frombuffer(data, dtype=np.uint8)
    if flat.size != step * height:
        raise ValueError(
            f"{what}: got {flat.size} bytes, "
            f"expected {step * height} (step {step} x height {height})"
        )
    rows = flat.reshape(height, step)[:, :row_bytes]
    if pixel.bits == 16:
        rows = np.ascontiguousarray(rows).view(">u2" if bigendian else "<u2")
    return np.ascontiguousarray(pixel.to_rgb(rows.reshape(height, width, pixel.channels)))


def decode_compressed(
    data: bytes | memoryview | Array, format: str, *, where: str = "image"
) -> Array:
    """A JPEG or PNG file as a new uint8[h, w, 3] RGB, in the orientation of the sensor.

    The size is read from the file's head before anything is decoded.
    Raises ValueError, naming where and format.
    """
    import cv2  # only compressed cameras need it

    what = f"{where}: compressed image of format {format!r}"
    if "compresseddepth" in format.lower():
        raise ValueError(
            f"{what} is refused: it is depth, expected the JPEG or PNG of a colour image"
        )
    flat = np.frombuffer(data, dtype=np.uint8)
    if not 0 < flat.size <= MAX_COMPRESSED_BYTES:
        raise ValueError(f"{what}: got {flat.size} bytes, expected 1 to {MAX_COMPRESSED_BYTES}")
    size = compressed_size(flat.tobytes())
    if size is None:
        raise ValueError(f"{what}: the data is neither a whole JPEG nor a whole PNG")
    _require_size(what, *size)
    try:
        bgr = cv2.imdecode(flat, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ValueError(f"{what}: OpenCV cannot decode it: {error}") from error
    if bgr is None or bgr.dtype != np.uint8 or bgr.ndim != 3:
        raise ValueError(f"{what}: OpenCV cannot decode it")
    return np.ascontiguousarray(bgr[:, :, ::-1])


def encode_jpeg(image: Array, *, quality: int = 95) -> bytes:
    """A JPEG file of uint8[h, w, 3] RGB. quality: of 100, OpenCV's scale."""
    import cv2

    bgr = np.ascontiguousarray(image[:, :, ::-1])
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"image: OpenCV cannot encode {list(image.shape)}")
    return data.tobytes()


def compressed_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels from the head of a PNG or JPEG file; None if it is neither."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(
                data[at + 5 : at + 7], "big"
            )
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _require_size(what: str, width: int, height: int) -> None:
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise ValueError(
            f"{what}: got {width} x {height} pixels, expected 1 to {MAX_SIDE_PX} each way"
        )


def _grey(pixels: Array) -> Array:
    return np.repeat(pixels, 3, axis=2)


def _to_8_bits(pixels: Array) -> Array:
    """uint16 full scale to uint8 full scale, rounded: 0 -> 0, 65535 -> 255."""
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _yuv422(luma_at: int, u_at: int, v_at: int) -> Callable[[Array], Array]:
    """Two pixels in four bytes; BT.601 with luma 16..235, as video devices and OpenCV have it."""

    def to_rgb(pixels: Array) -> Array:
        height, width, _ = pixels.shape
        quads = pixels.reshape(height, width // 2, 4).astype(np.float32)
        y = 1.164 * (quads[:, :, luma_at::2].reshape(height, width) - 16.0)
        u = np.repeat(quads[:, :, u_at] - 128.0, 2, axis=1)
        v = np.repeat(quads[:, :, v_at] - 128.0, 2, axis=1)
        rgb = np.stack([y + 1.596 * v, y - 0.813 * v - 0.391 * u, y + 2.018 * u], axis=2)
        return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)

    return to_rgb


_UYVY = PixelFormat(2, 8, _yuv422(1, 0, 2), even_width=True)
_YUYV = PixelFormat(2, 8, _yuv422(0, 1, 3), even_width=True)

ENCODINGS: dict[str, PixelFormat] = {
    "rgb8": PixelFormat(3, 8, lambda p: p.copy()),
    "bgr8": PixelFormat(3, 8, lambda p: p[:, :, ::-1]),
    "rgba8": PixelFormat(4, 8, lambda p: p[:, :, :3]),
    "bgra8": PixelFormat(4, 8, lambda p: p[:, :, 2::-1]),
    "mono8": PixelFormat(1, 8, _grey),
    "8uc1": PixelFormat(1, 8, _grey),
    "rgb16": PixelFormat(3, 16, _to_8_bits),
    "bgr16": PixelFormat(3, 16, lambda p: _to_8_bits(p[:, :, ::-1])),
    "rgba16": PixelFormat(4, 16, lambda p: _to_8_bits(p[:, :, :3])),
    "bgra16": PixelFormat(4, 16, lambda p: _to_8_bits(p[:, :, 2::-1])),
    "mono16": PixelFormat(1, 16, lambda p: _grey(_to_8_bits(p))),
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
}

REFUSED: dict[str, str] = {
    "bayer": "it is the raw mosaic of the sensor (let image_proc debayer it)",
    "8uc3": "it does not say the order of the colours (let the driver say rgb8 or bgr8)",
    "8uc4": "it does not say the order of the colours (let the driver say rgba8 or bgra8)",
    "16uc1": "it is depth or raw data, not a picture",
    "32fc": "it is depth or raw data, not a picture",
}
