"""A real browser for tests: Chromium without a window, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
MISSING = "needs a browser: apt-get install -y --no-install-recommends chromium fonts-dejavu-core"
START_S = 60.0
CALL_S = 60.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    # Windows that lie behind each other are looked at all the same.
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-background-timer-throttling",
)


class Tab:
    """One page in a window of its own."""

    def __init__(self, browser: Chromium, target: str, session: str) -> None:
        self._browser, self.target, self._session = browser, target, session

    @property
    def complaints(self) -> list[str]:
        """Exceptions, errors and warnings of the page's console, and what the browser says of it, since it was opened."""
        return [words for session, words in self._browser.complaints if session == self._session]

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A method of the DevTools protocol in this tab."""
        return await self._browser.call(method, self._session, **params)

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression, a promise's when it is there.

        Raises RuntimeError with the script's exception.
        """
        answer = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    async def until(self, script: str, seconds: float) -> Any:
        """The first true value of script. Raises TimeoutError with its last value."""
        end = time.monotonic() + seconds
        while not (value := await self.run(script)):
            if time.monotonic() > end:
                raise TimeoutError(f"after {seconds:g} s {script} is {value!r}")
            await asyncio.sleep(0.02)
        return value

    async def click(self, selector: str) -> None:
        """Press and release the left mouse button in the middle of an element."""
        x, y = await self.run(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.call(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    async def type(self, words: str) -> None:
        """Type words where the focus is, and Enter."""
        await self.call("Input.insertText", text=words)
        await self.key("Enter", 13, text="\r")

    async def key(self, name: str, code: int, **more: str) -> None:
        """Press and release a key. code: its virtual key code."""
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=name,
                code=name,
                windowsVirtualKeyCode=code,
                **(more if kind == "keyDown" else {}),
            )

    async def press(self, name: str) -> None:
        """Hold a key that writes one letter."""
        await self._letter("keyDown", name)

    async def release(self, name: str) -> None:
        """Let it go."""
        await self._letter("keyUp", name)

    async def _letter(self, kind: str, name: str) -> None:
        code = ord(name.upper())
        await self.call("Input.dispatchKeyEvent", type=kind, key=name, windowsVirtualKeyCode=code)

    async def size(self, width: int, height: int, *, phone: bool = False) -> None:
        """Show the page at width x height pixels."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    async def scheme(self, name: str) -> None:
        """name: "dark" or "light"."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def picture(
        self, path: Path, box: tuple[float, float, float, float] | None = None
    ) -> None:
        """Save what the window shows as PNG; box: x, y, width, height of a part of the whole page instead."""
        part = {}
        if box is not None:
            clip = dict(zip(("x", "y", "width", "height"), box, strict=True), scale=1)
            part = {"clip": clip, "captureBeyondViewport": True}
        answer = await self.call("Page.captureScreenshot", format="png", **part)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b64decode(answer["data"]))


class Chromium:
    """A running browser: `async with Chromium(folder) as browser`. folder: for its profile; flags: further ones."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self._folder, self._flags = folder, flags
        self._calls: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.complaints: list[tuple[str, str]] = []  # (session, words)
        self._count = 0

    async def __aenter__(self) -> Chromium:
        assert PROGRAM is not None, MISSING
        profile = self._folder / "profile"
        command = [PROGRAM, *FLAGS, *self._flags, "--remote-debugging-port=0", f"--user-data-dir={profile}"]  # fmt: skip
        self._log = (self._folder / "chromium.log").open("w")
        self._process = subprocess.Popen(
            [*command, "about:blank"],
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            env={**os.environ, "LD_LIBRARY_PATH": "", "HOME": str(self._folder)},
        )
        try:
            port, path = await self._port(profile / "DevToolsActivePort")
            self._http = aiohttp.ClientSession()
            self._socket = await self._http.ws_connect(
                f"ws://127.0.0.1:{port}{path}", max_msg_size=0
            )
        except BaseException:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        await self._http.close()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()

    async def open(self, url: str) -> Tab:
        """A page in a new window, which is visible beside the others."""
        blank = await self.call("Target.createTarget", url="about:blank", newWindow=True)
        target = blank["targetId"]
        attached = await self.call("Target.attachToTarget", targetId=target, flatten=True)
        tab = Tab(self, target, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            await tab.call(f"{domain}.enable")
        await tab.call("Page.navigate", url=url)
        return tab

    async def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """A method of the DevTools protocol. Raises RuntimeError with its refusal."""
        self._count += 1
        number = self._count
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        self._calls[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_str(json.dumps(message))
        try:
            answer = await asyncio.wait_for(self._calls[number], CALL_S)
        finally:
            del self._calls[number]
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    async def _read(self) -> None:
        async for message in self._socket:
            answer = json.loads(message.data)
            if (words := _complaint(answer)) is not None:
                self.complaints.append((answer.get("sessionId", ""), words))
            waiting = self._calls.get(answer.get("id", -1))
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    async def _port(self, file: Path) -> tuple[str, str]:
        end = time.monotonic() + START_S
        while not (file.exists() and file.read_text().count("\n")):
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"chromium did not start: {self._folder / 'chromium.log'}")
            await asyncio.sleep(0.1)
        port, path = file.read_text().split("\n")[:2]
        return port, path


def _complaint(event: dict[str, Any]) -> str | None:
    """What an event of DevTools complains of; None if of nothing."""
    told = event.get("params", {})
    if event.get("method") == "Runtime.exceptionThrown":
        details = told["exceptionDetails"]
        return str(details.get("exception", {}).get("description", details["text"]))
    if event.get("method") == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
        return " ".join(str(a.get("value", a.get("description"))) for a in told["args"])
    if event.get("method") == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
        return f"{told['entry']['text']} {told['entry'].get('url', '')}"
    return None
