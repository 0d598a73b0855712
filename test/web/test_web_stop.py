"""A stop gets through from every page, beside whatever else is under way."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import Future
from contextlib import asynccontextmanager

import aiohttp
import numpy as np
import pytest
from web_client import PATIENCE_S, Link
from web_site import Site, answered, linked

from vla_policy.web import request_queue
from vla_policy.web.panel import Answer

BROWSER_CONNECTIONS = 6  # of HTTP/1.1 to one host, shared by all tabs


@asynccontextmanager
async def three_pages(site: Site):
    """Three pages that look at all cameras and show each picture at once; the control links."""

    async def show(live: Link, seen: list[int]) -> None:
        await live.socket.send_str('{"visible": true}')
        while True:
            camera, _ = await live.picture()
            seen[camera] += 1
            await live.socket.send_str(json.dumps({"shown": camera}))

    def feed() -> None:
        rng = np.random.default_rng(0)
        frames = [rng.integers(0, 255, (480, 640, 3), dtype=np.uint8) for _ in range(4)]
        count = 0
        while not ended.wait(1 / 30):
            count += 1
            for camera in site.panel.cameras:
                site.panel.show(camera, lambda frame=frames[count % 4]: frame)

    ended = threading.Event()
    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        async with (
            linked(site, "/live") as a,
            linked(site, "/live") as b,
            linked(site, "/live") as c,
            linked(site, "/control") as d,
            linked(site, "/control") as e,
            linked(site, "/control") as f,
        ):
            seen = [[0] * len(site.panel.cameras) for _ in range(3)]
            showing = [
                asyncio.create_task(show(*each)) for each in zip((a, b, c), seen, strict=True)
            ]
            yield (d, e, f), seen
            for task in showing:
                task.cancel()
    finally:
        ended.set()
        feeder.join()


@pytest.fixture
def four_cameras():
    made = Site(cameras=("overview", "front", "left", "wrist"))
    yield made
    made.server.close()


def test_a_stop_gets_through_from_each_of_three_pages_with_four_cameras(four_cameras):
    async def run():
        async with three_pages(four_cameras) as (controls, seen):
            while min(map(min, seen)) < 5:
                await asyncio.sleep(0.05)
            for number, control in enumerate(controls):
                answer = await asyncio.wait_for(control.ask("stop", number=number), 1.0)
                assert answer["ok"]

    asyncio.run(asyncio.wait_for(run(), 60.0))
    assert four_cameras.robot.stop.call_count == 3


def test_a_stop_beside_the_link_finds_a_connection_though_three_pages_are_open(four_cameras):
    """The pages hold none of the connections that a browser has for one host."""
    key = four_cameras.key()

    async def run():
        browser = aiohttp.TCPConnector(limit_per_host=BROWSER_CONNECTIONS)
        async with three_pages(four_cameras), aiohttp.ClientSession(connector=browser) as http:
            for path in 3 * ("/", "/page.css", "/page.js", "/link.js", "/stop.js", "/told.js"):
                async with http.get(four_cameras.url + path) as reply:
                    await reply.read()
            stop = http.post(four_cameras.url + "/stop", headers={"X-Key": key})
            reply = await asyncio.wait_for(stop, 1.0)
            return reply.status, await reply.json()

    status, answer = asyncio.run(asyncio.wait_for(run(), 60.0))
    assert status == 200 and answer == {"ok": True, "message": "stopped until reset"}


def test_no_path_of_the_server_keeps_a_connection_for_pictures(site):
    """Streams over HTTP would take the connections that the next page needs."""
    for path in ("/camera/front", "/state"):
        assert site.ask("GET", path)[0] == 404


def test_a_stop_waits_for_no_other_request(site):
    blocked = threading.Event()
    site.robot.say.side_effect = lambda words: (
        blocked.wait(PATIENCE_S) and answered(Answer(True, ""))
    )

    async def run():
        async with linked(site, "/control") as link:
            await link.ask("reset")
            for number in range(10, 22):
                request = {"id": number, "ask": "say", "words": "go", "beat": link.beat}
                await link.socket.send_str(json.dumps(request))
            return await link.ask("stop", number=99)

    try:
        assert asyncio.run(run())["ok"]
        assert not blocked.is_set()
    finally:
        blocked.set()


def test_a_stop_that_is_not_answered_is_tried_anew(site, monkeypatch):
    monkeypatch.setattr(request_queue, "STOP_S", 0.2)
    answers = [Future(), Future(), answered(Answer(True, "stopped until reset"))]
    site.robot.stop.side_effect = lambda: answers.pop(0)

    async def run():
        async with linked(site, "/control") as link:
            return [await link.ask("stop", number=number) for number in range(3)]

    told = asyncio.run(run())
    assert [answer["ok"] for answer in told] == [False, False, True]
    assert told[0]["message"] == "no answer in 0.2 s"
