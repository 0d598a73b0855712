"""What the page shows and may ask for, between the ROS threads and the web server's loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import cv2

from vla_policy.types import Array

JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request of the page went, with a sentence for the person."""

    ok: bool
    message: str


@dataclass(frozen=True, slots=True)
class Actions:
    """What the page may ask for. Each blocks for a bounded time and may be called from any thread."""

    say: Callable[[str], Answer]
    engage: Callable[[bool], Answer]
    stop: Callable[[], Answer]
    reset: Callable[[], Answer]


class Panel:
    """The newest image of each camera and the newest state; written by one side, read by the other.

    An image is encoded when somebody looks at it, once per image however many look.
    """

    def __init__(self, cameras: tuple[str, ...]) -> None:
        self.cameras = cameras
        self._lock = threading.Lock()
        self._images: dict[str, tuple[int, Array]] = {}
        self._encoded: dict[str, tuple[int, bytes]] = {}
        self._state: dict[str, Any] = {}

    def show(self, camera: str, image: Array) -> None:
        """A new image uint8[h, w, 3] RGB of one of cameras."""
        with self._lock:
            number = self._images[camera][0] + 1 if camera in self._images else 1
            self._images[camera] = (number, image)

    def tell(self, **state: Any) -> None:
        """Entries of the state line, JSON values; others stay."""
        with self._lock:
            self._state |= state

    @property
    def state(self) -> Mapping[str, Any]:
        """All entries told so far."""
        with self._lock:
            return MappingProxyType(dict(self._state))

    def jpeg(self, camera: str, after: int) -> tuple[int, bytes] | None:
        """(number, JPEG file) of the camera's newest image, or None if its number is not > after."""
        with self._lock:
            number, image = self._images.get(camera, (0, None))
            if image is None or number <= after:
                return None
            known = self._encoded.get(camera)
        if known is not None and known[0] == number:
            return known
        done, data = cv2.imencode(
            ".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        )
        if not done:
            return None
        encoded = (number, data.tobytes())
        with self._lock:
            self._encoded[camera] = encoded
        return encoded
