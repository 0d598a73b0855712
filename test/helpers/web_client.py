"""A client of the page's WebSockets, for tests of the server without a browser."""

from __future__ import annotations

import asyncio
import html
import json
import re
import time
from contextlib import asynccontextmanager

import aiohttp
import cv2
import numpy as np

PATIENCE_S = 10.0


class Link:
    """One end of a WebSocket of the page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket, self.beat = socket, 0

    async def next(self, wanted=lambda message: True):
        """The next message except heartbeats: bytes, or an object."""
        while True:
            message = await asyncio.wait_for(self.socket.receive(), PATIENCE_S)
            if message.type is aiohttp.WSMsgType.BINARY:
                found = message.data
            else:
                assert message.type is aiohttp.WSMsgType.TEXT, (message.type, message.data)
                found = json.loads(message.data)
                if "beat" in found:
                    self.beat = found["beat"]
                    continue
            if wanted(found):
                return found

    async def picture(self) -> tuple[int, np.ndarray]:
        """(camera, BGR) of the next image."""
        data = await self.next(lambda found: isinstance(found, bytes))
        return data[0], cv2.imdecode(np.frombuffer(data[1:], np.uint8), cv2.IMREAD_COLOR)

    async def ask(self, verb: str, words: str = "", number: int = 1, **details: object) -> dict:
        """The answer to a request; waits for a heartbeat first."""
        while not self.beat:
            message = await asyncio.wait_for(self.socket.receive(), PATIENCE_S)
            self.beat = json.loads(message.data).get("beat", 0)
        request = {
            "id": number, "ask": verb, "words": words, "with": details, "beat": self.beat
        }  # fmt: skip
        await self.socket.send_str(json.dumps(request))
        return await self.next(lambda found: found.get("id") == number)


@asynccontextmanager
async def linked(url: str, path: str, key: str | None = None, **headers: str):
    """A connected link. url: of the page; key: the page's own if it is None."""
    async with aiohttp.ClientSession() as http:
        shown = await key_of(http, url) if key is None else key
        async with http.ws_connect(url + path, headers=headers, max_msg_size=0) as socket:
            await socket.send_str(json.dumps({"key": shown}))
            link = Link(socket)
            assert await link.next() == {"hello": True}
            yield link


async def key_of(http: aiohttp.ClientSession, url: str) -> str:
    """The key contained in the page."""
    async with http.get(url + "/") as reply:
        text = html.unescape(await reply.text())
    return re.search(r'"key": "([^"]+)"', text)[1]


def on_page(url: str, test, timeout_s: float):
    """What test(control link, live link) returns, run once the page is there, within timeout_s; in all within three times that."""

    async def run():
        end = time.monotonic() + timeout_s
        while True:
            try:
                async with linked(url, "/control") as control, linked(url, "/live") as live:
                    return await test(control, live)
            except aiohttp.ClientConnectorError:
                assert time.monotonic() < end, "no page"
                await asyncio.sleep(0.1)

    return asyncio.run(asyncio.wait_for(run(), 3 * timeout_s))
