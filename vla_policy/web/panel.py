"""What the page shows and may ask for, between the ROS threads and the web server's loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import cv2

from vla_policy.runtime.images import encode_jpeg
from vla_policy.types import Array

JPEG_QUALITY = 85
MAX_SIDE_PX = 960  # no page shows a picture larger

# Makes uint8[h, w, 3] RGB; None if what came is no image, which its maker has told of.
MakeImage = Callable[[], Array | None]


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request of the page went, with a sentence for the person.

    about: id of the instruction that it is about, whose outcome comes later; empty if of none.
    """

    ok: bool
    message: str
    about: str = ""


Ask = Callable[..., "Future[Answer]"]


@dataclass(frozen=True, slots=True)
class Deed:
    """One more thing that the page may ask for.

    run: (details: Mapping of JSON values, which anybody may have written) -> Future[Answer]; raises ValueError
    with a sentence for details that it does not take.
    moves: whether it could make the robot move, or move otherwise, or is wrong when it comes late. limit_s: for its answer.
    """

    run: Ask
    moves: bool = True
    limit_s: float = 3.0


@dataclass(frozen=True, slots=True)
class Actions:
    """What the page may ask for. Each returns at once, from any thread.

    Who asks cancels the future when its patience ends; an answer that comes after that must not
    have moved the robot.
    drive: (details) of a hand at the page, twenty times a second while it is there -> why it is not passed on, or None.
    """

    say: Ask  # (words: str)
    engage: Ask  # (engaged: bool)
    stop: Ask  # ()
    reset: Ask  # ()
    more: Mapping[str, Deed] = field(default_factory=dict)
    drive: Callable[[Mapping[str, Any]], str | None] | None = None


class Panel:
    """The newest image of each camera and the newest state; written by one side, read by the other.

    cameras: names in the order of the page. extra: those of them that a robot need not have.
    An image is made and encoded when somebody looks at it, once per image however many look.
    """

    def __init__(self, cameras: tuple[str, ...], *, extra: tuple[str, ...] = ()) -> None:
        self.cameras, self.extra = cameras, extra
        self._lock = threading.Lock()
        self._images: dict[str, tuple[int, MakeImage]] = {}
        self._encoded: dict[str, tuple[int, bytes | None]] = {}
        self._state: dict[str, Any] = {}
        self._changes = 0

    def show(self, camera: str, make: MakeImage) -> None:
        """A new image of one of cameras; it replaces one that nobody looked at."""
        with self._lock:
            number = self._images[camera][0] + 1 if camera in self._images else 1
            self._images[camera] = (number, make)

    def tell(self, **state: Any) -> None:
        """Entries of the state line, JSON values; others stay."""
        with self._lock:
            new = self._state | state
            if new != self._state:
                self._state, self._changes = new, self._changes + 1

    @property
    def state(self) -> Mapping[str, Any]:
        """All entries told so far."""
        return self.told()[1]

    def told(self) -> tuple[int, Mapping[str, Any]]:
        """(number of changes, state) of one moment."""
        with self._lock:
            return self._changes, MappingProxyType(dict(self._state))

    def number(self, camera: str) -> int:
        """Of the camera's newest image, counted from 1; 0 before the first."""
        with self._lock:
            return self._images[camera][0] if camera in self._images else 0

    def jpeg(self, camera: str, after: int) -> tuple[int, bytes] | None:
        """(number, JPEG file) of the camera's newest image, or None if its number is not > after."""
        with self._lock:
            number, make = self._images.get(camera, (0, None))
            if make is None or number <= after:
                return None
            known = self._encoded.get(camera)
        if known is None or known[0] != number:
            known = (number, _encode(make()))
            with self._lock:
                self._encoded[camera] = known
        number, encoded = known
        return None if encoded is None else (number, encoded)


def _encode(image: Array | None) -> bytes | None:
    if image is None:
        return None
    scale = MAX_SIDE_PX / max(image.shape[:2])
    if scale < 1.0:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return encode_jpeg(image, quality=JPEG_QUALITY)
