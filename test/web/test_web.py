"""The page's server over real connections on loopback: what it shows, whom it obeys, and that a stop always gets through."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import create_autospec

import aiohttp
import numpy as np
import pytest
from web_site import image, linked

from vla_policy.web.feed import Feed
from vla_policy.web.live_link import Viewer
from vla_policy.web.panel import Actions, Panel
from vla_policy.web.server import PanelServer

# What is served


def test_the_page_stands_alone_and_names_its_cameras(site):
    status, text = site.ask("GET", "/")
    named = text.replace("&quot;", '"')
    assert status == 200 and '"cameras": ["front", "overview"], "extra": ["overview"]' in named
    for name in re.findall(r'(?:href|src)="/([^"]+)"', text):
        status, loaded = site.ask("GET", f"/{name}")
        assert status == 200
        text += loaded
    assert not re.findall(r"(?:https?:)?//[a-z]+\.", text), "nothing is loaded from elsewhere"


def test_every_module_of_the_page_is_served(site):
    todo, seen = ["page.js"], set()
    while todo:
        name = todo.pop()
        seen.add(name)
        status, text = site.ask("GET", f"/{name}")
        assert status == 200, name
        todo += set(re.findall(r'from "\./([^"]+)"', text)) - seen
    assert {"stop.js", "link.js"} <= seen


@pytest.mark.parametrize("path", ["/server.py", "/nothing.js", "/../panel.py", "/page.html.js"])
def test_other_files_are_not_served(site, path):
    assert site.ask("GET", path)[0] == 404


def test_state_comes_when_it_changes(site):
    async def run():
        async with linked(site, "/live") as link:
            first = await link.next()
            site.panel.tell(engaged=True, queue=3)
            second = await link.next()
            site.panel.tell(queue=4)
            return first, second, await link.next()

    first, second, third = (found["state"] for found in asyncio.run(run()))
    assert (first, second) == ({}, {"engaged": True, "queue": 3})
    assert third == {"engaged": True, "queue": 4}


# Pictures: the newest only


def test_a_page_is_shown_the_newest_picture_when_it_has_shown_the_last(site):
    async def run():
        async with linked(site, "/live") as link:
            site.panel.show("front", image(255, 0, 0))
            await link.socket.send_str('{"visible": true}')
            camera, first = await link.picture()
            assert camera == 0 and first[8, 8, 2] > 200 > first[8, 8, 0]
            for _ in range(20):  # none of these may wait anywhere
                site.panel.show("front", image(0, 255, 0))
            site.panel.show("overview", image(9, 9, 9))
            camera, _ = await link.picture()  # another camera is not held up
            assert camera == 1
            site.panel.show("front", image(0, 0, 255))
            await link.socket.send_str('{"shown": 0}')
            camera, second = await link.picture()
            assert camera == 0 and second[8, 8, 0] > 200 > second[8, 8, 2]

    asyncio.run(run())


def test_a_page_that_nobody_looks_at_gets_no_picture():
    panel, viewer = Panel(("front", "wrist")), Viewer()
    panel.show("front", image(1, 1, 1))
    assert viewer.due(panel) == []
    viewer.hear('{"visible": true}')
    assert viewer.due(panel) == [(0, 0)]
    viewer.hear('{"visible": false}')
    assert viewer.due(panel) == []
    for text in ("", "[]", '{"visible": 1}', '{"shown": "0"}', '{"shown": true}'):
        viewer.hear(text)
    assert not viewer.visible


def test_a_link_that_cannot_send_any_more_ends_so_that_the_page_makes_it_anew(site):
    async def run():
        async with linked(site, "/live") as link:
            await link.next()
            site.panel.show("front", lambda: 1 / 0)
            await link.socket.send_str('{"visible": true}')
            assert (await link.socket.receive()).type in (
                aiohttp.WSMsgType.CLOSE,
                aiohttp.WSMsgType.CLOSED,
            )

    asyncio.run(asyncio.wait_for(run(), 10.0))


def test_an_image_is_made_and_encoded_once_for_many_viewers_and_not_for_none():
    panel = Panel(("front",))
    assert panel.jpeg("front", 0) is None
    made = []
    panel.show("front", lambda: made.append(1) or np.zeros((8, 8, 3), np.uint8))
    assert not made
    assert panel.jpeg("front", 0)[1] is panel.jpeg("front", 0)[1]
    assert made == [1] and panel.jpeg("front", 1) is None


def test_ten_pages_cost_one_encoding_and_one_thread_s_work_for_each_image():
    panel, made = Panel(("front", "wrist")), []

    def show(number):
        panel.show("front", lambda: made.append(number) or np.zeros((8, 8, 3), np.uint8))

    async def run():
        with ThreadPoolExecutor(1) as pool:
            encoder = create_autospec(pool, instance=True)
            encoder.submit.side_effect = pool.submit
            feed = Feed(panel, encoder)
            show(1)
            first = await asyncio.gather(*(feed.image(0, 0) for _ in range(10)))
            assert {id(message) for _, message in first} == {id(first[0][1])} and made == [1]
            assert first[0][0] == 1 and first[0][1][:3] == b"\x00\xff\xd8"
            assert await feed.image(0, 1) is None and encoder.submit.call_count == 1
            # Only the newest is made, and what is no image is tried once.
            show(2)
            show(3)
            found = await asyncio.gather(*(feed.image(0, after) for after in (1, 3, 0)))
            assert [one and one[0] for one in found] == [3, None, 3] and made == [1, 3]
            panel.show("wrist", lambda: made.append("wrist"))
            assert [await feed.image(1, 0) for _ in range(3)] == [None] * 3
            assert made == [1, 3, "wrist"]
            panel.tell(engaged=True)
            assert feed.state()[1] is feed.state()[1] == '{"state": {"engaged": true}}'

    asyncio.run(run())


def test_a_page_that_leaves_while_an_image_is_made_takes_it_from_nobody():
    panel, held = Panel(("front",)), threading.Event()
    panel.show("front", lambda: held.wait(10.0) and np.zeros((8, 8, 3), np.uint8))

    async def run():
        with ThreadPoolExecutor(1) as pool:
            feed = Feed(panel, pool)
            leaving, staying = (asyncio.create_task(feed.image(0, 0)) for _ in range(2))
            await asyncio.sleep(0.01)
            leaving.cancel()
            held.set()
            assert (await staying)[0] == 1
            assert leaving.cancelled()

    asyncio.run(run())


def test_what_is_no_image_is_not_shown_and_not_tried_again():
    panel = Panel(("front",))
    tried = []
    panel.show("front", lambda: tried.append(1))
    assert panel.jpeg("front", 0) is None and panel.jpeg("front", 0) is None and tried == [1]


# Requests


# What is late does not move the robot


# A stop gets through


# Who is obeyed


# Beginning and end


def test_a_port_in_use_is_one_sentence(site):
    other = PanelServer(Panel(()), create_autospec(Actions), host="127.0.0.1", port=site.port)
    with pytest.raises(ValueError, match=f"cannot listen on 127.0.0.1 port {site.port}: .*in use"):
        other.start()
    other.close()


def test_close_is_quick_although_somebody_watches(site):
    async def run():
        async with linked(site, "/live") as live, linked(site, "/control") as control:
            await live.socket.send_str('{"visible": true}')
            await control.ask("reset")
            started = time.monotonic()
            await asyncio.get_running_loop().run_in_executor(None, site.server.close)
            return time.monotonic() - started

    assert asyncio.run(run()) < 2.0
    assert not site.server._thread.is_alive()
