"""The link that sends a page its images and status: only the newest, without a queue.

page:   {"key": ...} first; then {"visible": bool}, and {"shown": k} after each image of camera k
server: {"hello": true}; {"state": {...}} when it has changed; binary frames: one byte k, then a JPEG file
A camera's next image is sent only when the page has shown the last one, so a slow page gets fewer
images but no older ones; a hidden page gets none.
"""

from __future__ import annotations

import asyncio
import time

from aiohttp import WSMsgType, web

from vla_policy.web.control_link import parsed
from vla_policy.web.feed import Feed
from vla_policy.web.panel import Panel

LOOK_S = 0.015  # interval of checking for a new image or state
STATE_S = 0.1


class Viewer:
    """What was sent to one page and what it has not shown yet."""

    def __init__(self) -> None:
        self.visible = False
        self._sent: dict[int, int] = {}
        self._unshown: set[int] = set()

    def hear(self, text: str) -> None:
        """Process a message of the page; an invalid one is ignored."""
        message = parsed(text)
        if isinstance(message.get("visible"), bool):
            self.visible = message["visible"]
        if type(message.get("shown")) is int:
            self._unshown.discard(message["shown"])

    def due(self, panel: Panel) -> list[tuple[int, int]]:
        """(index of a camera, number of its last sent image) of each that may get another."""
        if not self.visible:
            return []
        return [
            (k, self._sent.get(k, 0))
            for k, camera in enumerate(panel.cameras)
            if k not in self._unshown and panel.number(camera) > self._sent.get(k, 0)
        ]

    def send(self, camera: int, number: int) -> None:
        """Note that an image is sent now."""
        self._sent[camera] = number
        self._unshown.add(camera)


async def serve(socket: web.WebSocketResponse, feed: Feed) -> None:
    """Keep one page that has sent its key up to date, until it disconnects.

    An error while sending is raised: the link ends, and the page makes it anew.
    """
    viewer = Viewer()
    hearing = asyncio.create_task(_hear(socket, viewer))
    sending = asyncio.create_task(_send(socket, feed, viewer))
    try:
        ended, _ = await asyncio.wait({hearing, sending}, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        hearing.cancel()
        sending.cancel()


async def _hear(socket: web.WebSocketResponse, viewer: Viewer) -> None:
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            break
        viewer.hear(message.data)


async def _send(socket: web.WebSocketResponse, feed: Feed, viewer: Viewer) -> None:
    told, told_s = -1, 0.0
    try:
        while not socket.closed:
            if feed.panel.changes != told and time.monotonic() - told_s >= STATE_S:
                told, state = feed.state()
                told_s = time.monotonic()
                await socket.send_str(state)
            due = viewer.due(feed.panel)
            for k, _ in due:
                feed.begin(k)  # the next ones are made while the first is sent
            for k, after in due:
                found = await feed.image(k, after)
                if found is not None:
                    viewer.send(k, found[0])
                    await socket.send_bytes(found[1])
            await asyncio.sleep(LOOK_S)
    except ConnectionError:
        await socket.close()  # the page has disconnected
