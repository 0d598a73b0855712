"""State and requests of the page, between the ROS threads and the web server's loop."""

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
MAX_SIDE_PX = 960  # no page shows an image larger

# Returns uint8[h, w, 3] RGB; None if the data is no image, which the callable has then logged.
MakeImage = Callable[[], Array | None]


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a request of the page, with a sentence for the person.

    about: id of its instruction, whose outcome follows later; empty without one.
    """

    ok: bool
    message: str
    about: str = ""


Ask = Callable[..., "Future[Answer]"]


@dataclass(frozen=True, slots=True)
class Deed:
    """One more request that the page may send.

    run: (details: Mapping of JSON values from an untrusted sender) -> Future[Answer]; raises
        ValueError with a sentence for invalid details.
    moves: whether it could start or change motion of the robot, or is wrong if executed late.
    limit_s: time-out of its answer.
    urgent: a stop, which waits for no other request; run must return at once.
    """

    run: Ask
    moves: bool = True
    limit_s: float = 3.0
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Actions:
    """The requests that the page may send. Each returns immediately, from any thread.

    A caller cancels the future at its time-out; an answer after that must not have moved the
    robot.
    drive: (details) of manual motion from the page, twenty times a second -> why it is not
        published, or None.
    """

    say: Ask  # (words: str)
    engage: Ask  # (engaged: bool)
    stop: Ask  # ()
    reset: Ask  # ()
    more: Mapping[str, Deed] = field(default_factory=dict)
    drive: Callable[[Mapping[str, Any]], str | None] | None = None


class Panel:
    """The newest image of each camera and the newest state; written by one side, read by the other.

    cameras: names in the order of the page. extra: those of them that a robot may lack.
    An image is decoded and encoded on demand, once per image for any number of pages.
    """

    def __init__(self, cameras: tuple[str, ...], *, extra: tuple[str, ...] = ()) -> None:
        self.cameras, self.extra = cameras, extra
        self._lock = threading.Lock()
        self._images: dict[str, tuple[int, MakeImage]] = {}
        self._encoded: dict[str, tuple[int, bytes | None]] = {}
        self._state: dict[str, Any] = {}
        self._changes = 0

    def show(self, camera: str, make: MakeImage) -> None:
        """A new image of one of cameras; it replaces an unused one."""
        with self._lock:
            number = self._images[camera][0] + 1 if camera in self._images else 1
            self._images[camera] = (number, make)

    def tell(self, **state: Any) -> None:
        """Set entries of the state, JSON values; others stay."""
        with self._lock:
            new = self._state | state
            if new != self._state:
                self._state, self._changes = new, self._changes + 1

    @property
    def state(self) -> Mapping[str, Any]:
        """All entries set so far."""
        return self.told()[1]

    @property
    def changes(self) -> int:
        """How often the state has changed."""
        return self._changes

    def told(self) -> tuple[int, Mapping[str, Any]]:
        """(number of changes, state), consistent with each other."""
        with self._lock:
            return self._changes, MappingProxyType(dict(self._state))

    def number(self, camera: str) -> int:
        """The number of the camera's newest image, counted from 1; 0 before the first."""
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
