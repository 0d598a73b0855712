"""Pixels of every encoding against a slow reference, and the decoder against anything at all."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_policy.runtime.images import (
    ENCODINGS,
    compressed_size,
    decode_compressed,
    decode_raw,
)

HEIGHT, WIDTH, PADDING = 3, 4, 5


def reference_pixel(encoding: str, row: bytes, x: int, bigendian: bool) -> tuple[int, int, int]:
    """RGB of pixel x of one row, written out from the definition of the encoding."""

    def word(at: int) -> int:
        value = int.from_bytes(row[2 * at : 2 * at + 2], "big" if bigendian else "little")
        return round(value * 255 / 65535)

    if encoding in ("mono8", "8uc1"):
        return (row[x],) * 3
    if encoding == "mono16":
        return (word(x),) * 3
    if encoding in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv"):
        quad = row[4 * (x // 2) : 4 * (x // 2) + 4]
        u, y0, v, y1 = (
            quad if encoding in ("yuv422", "uyvy") else (quad[1], quad[0], quad[3], quad[2])
        )
        y = 1.164 * ((y1 if x % 2 else y0) - 16)
        u, v = u - 128, v - 128
        rgb = (y + 1.596 * v, y - 0.813 * v - 0.391 * u, y + 2.018 * u)
        return tuple(min(255, max(0, round(c))) for c in rgb)
    order = encoding.rstrip("0123456789")
    value = word if encoding.endswith("16") else row.__getitem__
    return tuple(value(len(order) * x + order.index(colour)) for colour in "rgb")


@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize("padding", [0, PADDING])
@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_every_encoding_agrees_with_the_slow_reference(encoding, padding, bigendian):
    pixel = ENCODINGS[encoding]
    step = WIDTH * pixel.channels * pixel.bits // 8 + padding
    data = np.random.default_rng(7).integers(0, 256, HEIGHT * step, dtype=np.uint8).tobytes()
    image = decode_raw(data, encoding, height=HEIGHT, width=WIDTH, step=step, bigendian=bigendian)
    assert (
        image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8 and image.flags.c_contiguous
    )
    for y in range(HEIGHT):
        row = data[y * step : (y + 1) * step]
        expected = [reference_pixel(encoding, row, x, bigendian) for x in range(WIDTH)]
        assert np.abs(image[y].astype(int) - expected).max() <= (1 if "y" in encoding else 0)


def test_the_result_does_not_share_memory_with_the_message():
    data = bytearray(range(12))
    image = decode_raw(data, "rgb8", height=1, width=4, step=12)
    data[0] = 99
    assert image[0, 0, 0] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoding": "bayer_rggb8"}, "image_proc"),
        ({"encoding": "8UC3"}, "order of the colours"),
        ({"encoding": "16UC1"}, "depth"),
        ({"encoding": "nonsense"}, "expected one of rgb8"),
        ({"encoding": ""}, "not known"),
        ({"width": 0}, "0 x 2"),
        ({"height": 0}, "4 x 0"),
        ({"width": 100_000}, "100000 x 2"),
        ({"step": 11}, "at least 12"),
        ({"step": 0}, "at least 12"),
        ({"data": bytes(23)}, "got 23 bytes, expected 24"),
        ({"data": bytes(25)}, "got 25 bytes, expected 24"),
        ({"data": b""}, "got 0 bytes"),
        ({"encoding": "yuyv", "width": 3}, "even number"),
    ],
)
def test_what_is_not_as_described_is_refused_with_topic_and_encoding(change, words):
    image = {"data": bytes(24), "encoding": "rgb8", "height": 2, "width": 4, "step": 12, **change}
    with pytest.raises(ValueError, match=words) as caught:
        decode_raw(**image, where="cam/image_raw")
    assert "cam/image_raw" in str(caught.value) and repr(image["encoding"]) in str(caught.value)


@settings(max_examples=400, deadline=None)
@given(
    data=st.binary(max_size=300),
    encoding=st.one_of(st.sampled_from(sorted(ENCODINGS)), st.text(max_size=12)),
    height=st.integers(0, 2**32 - 1) | st.integers(0, 12),
    width=st.integers(0, 2**32 - 1) | st.integers(0, 12),
    step=st.integers(0, 2**32 - 1) | st.integers(0, 48),
    bigendian=st.booleans(),
)
def test_any_raw_message_gives_an_image_or_a_value_error(
    data, encoding, height, width, step, bigendian
):
    try:
        image = decode_raw(
            data, encoding, height=height, width=width, step=step, bigendian=bigendian
        )
    except ValueError:
        return
    assert image.shape == (height, width, 3) and image.dtype == np.uint8


def red_left_blue_right(extension: str) -> bytes:
    image = np.zeros((16, 32, 3), np.uint8)
    image[:, :16, 2] = 255  # OpenCV writes BGR
    image[:, 16:, 0] = 255
    return cv2.imencode(extension, image)[1].tobytes()


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_compressed_images_come_out_as_rgb(extension):
    data = red_left_blue_right(extension)
    assert compressed_size(data) == (32, 16)
    image = decode_compressed(data, "jpeg")
    assert image.shape == (16, 32, 3)
    assert np.abs(image[8, 4].astype(int) - [255, 0, 0]).max() < 12
    assert np.abs(image[8, 28].astype(int) - [0, 0, 255]).max() < 12


def test_a_compressed_image_of_absurd_size_is_refused_before_it_is_decoded():
    data = bytearray(red_left_blue_right(".png"))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(ValueError, match="60000 x 60000"):
        decode_compressed(bytes(data), "png", where="cam")


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a....", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", bytes(1000)]
)
def test_a_broken_compressed_image_is_refused(data):
    with pytest.raises(ValueError, match="cam: compressed image of format 'jpeg'"):
        decode_compressed(data, "jpeg", where="cam")


def test_depth_is_not_taken_for_a_picture():
    with pytest.raises(ValueError, match="depth"):
        decode_compressed(bytes(12) + red_left_blue_right(".png"), "16UC1; compressedDepth png")


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    base=st.sampled_from([".jpg", ".png"]),
    cut=st.integers(0, 800),
    noise=st.binary(max_size=40),
    at=st.integers(0, 400),
)
def test_any_compressed_message_gives_an_image_or_a_value_error(base, cut, noise, at):
    data = bytearray(red_left_blue_right(base)[: 800 - cut])
    data[at : at + len(noise)] = noise
    try:
        image = decode_compressed(bytes(data), "jpeg")
    except ValueError:
        return
    assert image.ndim == 3 and image.shape[2] == 3
