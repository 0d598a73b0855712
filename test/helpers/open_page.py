"""A page in a browser for tests that do not await: one event loop, driven when something is asked of it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

from chromium import Chromium, Tab

WAIT_S = 60.0
PHONE = (390, 844)
NOT_THERE = "the task node is not there"
PICTURES = "VLA_PICTURES"  # folder in which pictures of the page are kept
T = TypeVar("T")


def free_port() -> int:
    """Of this machine, a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int) -> None:
    """Until somebody listens there. Raises TimeoutError."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nobody listens on port {port}")


class OpenPage:
    """A browser, and in tab the page on port once open() was called."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._loop = asyncio.new_event_loop()
        self.browser = Chromium(folder)
        self.tab: Tab | None = None
        self.do(self.browser.__aenter__())

    def close(self) -> None:
        self.do(self.browser.__aexit__())
        self._loop.close()

    def open(self, cameras: int) -> None:
        """The page, once it is served and pictures of so many cameras come."""
        wait_for_port(self.port)
        self.tab = self.do(self.browser.open(f"http://127.0.0.1:{self.port}/"))
        fresh = "[...document.querySelectorAll('figcaption')].filter((c) => / Hz$/.test(c.textContent))"
        self.until(f"{fresh}.length >= {cameras}")

    def do(self, work: Awaitable[T]) -> T:
        """The result of a coroutine."""
        return self._loop.run_until_complete(asyncio.wait_for(work, 2 * WAIT_S))

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return self.do(self.tab.run(script))

    def until(self, script: str) -> Any:
        """The first true value of script. Raises TimeoutError with what the page shows."""
        try:
            return self.do(self.tab.until(script, WAIT_S))
        except TimeoutError as error:
            shown = self.run("[document.hidden, document.readyState, document.body.innerText]")
            raise TimeoutError(f"{error}; the page shows {shown} {self.tab.complaints}") from error

    def text(self, selector: str) -> str:
        return str(self.run(f"document.querySelector({selector!r}).textContent"))

    def says(self, words: str, selector: str = "#answer") -> str:
        """The text of an element, once it has these words."""
        text = f"document.querySelector({selector!r}).textContent"
        try:
            return str(self.until(f"{text}.includes({words!r}) && {text}"))
        except TimeoutError as error:
            raise AssertionError(f"{selector} has {self.text(selector)!r}") from error

    def unfold(self, box: str) -> None:
        """Open a part of the page."""
        self.run(f"document.querySelector({box!r}).open = true")

    def click(self, selector: str) -> None:
        """The middle of an element, brought into view."""
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        self.do(self.tab.click(selector))

    def focus(self, selector: str) -> None:
        self.run(f"document.querySelector({selector!r}).focus()")

    def key(self, name: str, code: int) -> None:
        """Press and release."""
        self.do(self.tab.key(name, code))

    def type(self, words: str) -> None:
        """An instruction, and Enter."""
        # A picture that comes between the look and the press moves the box away from under it.
        while not self.run("document.activeElement.id === 'words'"):
            self.click("#words")
        self.run("document.activeElement.value = ''")  # refused words stand there to be mended
        self.do(self.tab.type(words))

    def say(self, words: str) -> None:
        """An instruction, typed again while the page's node has not discovered the task node."""
        for _ in range(20):
            self.type(words)
            self.says(words, "#said")
            time.sleep(1.0)
            newest = str(self.run("document.querySelector('#said').firstElementChild.textContent"))
            if NOT_THERE not in newest:
                return
        raise AssertionError(newest)

    def put(self, selector: str, value: str) -> None:
        """What a person leaves a field with."""
        self.run(
            f"(() => {{ const e = document.querySelector({selector!r}); e.value = {value!r}; "
            "e.dispatchEvent(new Event('change')); })()"
        )

    def watch_drawing(self) -> None:
        """Keep from now on over which cameras' pictures a line was drawn: it may be gone before anybody looks."""
        self.run(
            "(() => { window.drawnOver = new Set(); const ink = CanvasRenderingContext2D.prototype;"
            "window.inkStroke ??= ink.stroke; ink.stroke = function () { window.inkStroke.call(this);"
            "if (this.canvas.className !== 'over') return;"
            "const figure = this.canvas.closest('figure').textContent.split(/[,:]/)[0];"
            "if (drawnOver.has(figure)) return;"  # a look at every pixel of every line would hold the page up
            "const copy = new OffscreenCanvas(320, 240).getContext('2d', { willReadFrequently: true });"
            "copy.drawImage(this.canvas, 0, 0, 320, 240);"
            "if (copy.getImageData(0, 0, 320, 240).data.some((v) => v)) drawnOver.add(figure);"
            "}; })()"
        )

    def drawn(self, camera: str) -> bool:
        """Whether anything was drawn over the picture of a camera since watch_drawing()."""
        return bool(self.run(f"drawnOver.has({camera!r})"))

    def wait_drawn(self, camera: str) -> None:
        """Until something was."""
        self.until(f"drawnOver.has({camera!r})")

    def picture(self, name: str, size: tuple[int, int] = (1280, 720)) -> None:
        """Of what the window shows, where pictures are wanted."""
        if folder := os.environ.get(PICTURES):
            self.do(self.tab.size(*size, phone=size[0] < size[1]))
            time.sleep(0.5)  # pictures come anew
            self.do(self.tab.picture(Path(folder) / name))
