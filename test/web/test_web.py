"""The page's server over real connections on loopback: what it shows, whom it obeys, and that a stop always gets through."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import asynccontextmanager
from unittest.mock import create_autospec

import aiohttp
import numpy as np
import pytest
from web_client import PATIENCE_S, Link

from vla_policy.web import control_link, request_queue
from vla_policy.web.access import access, refuse_host, refuse_origin
from vla_policy.web.control_link import BEATS_KEPT, FRESH_S, Beats
from vla_policy.web.live_link import Viewer
from vla_policy.web.panel import Actions, Answer, Panel
from vla_policy.web.server import NO_KEY, PanelServer

BROWSER_CONNECTIONS = 6  # of HTTP/1.1 to one host, shared by all tabs


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answered(answer: Answer) -> Future[Answer]:
    made: Future[Answer] = Future()
    made.set_result(answer)
    return made


class Robot:
    """What the page may ask for; each answers at once, and is counted."""

    def say(self, words: str) -> Future[Answer]:
        return answered(Answer(True, f"said: {words}", "goal 7"))

    def engage(self, engaged: bool) -> Future[Answer]:
        return answered(Answer(True, "engaged" if engaged else "disengaged"))

    def stop(self) -> Future[Answer]:
        return answered(Answer(True, "stopped until reset"))

    def reset(self) -> Future[Answer]:
        return answered(Answer(True, "lifted"))


class Site:
    """A running server, its panel and what its actions were asked."""

    def __init__(self, host: str = "127.0.0.1", cameras=("front", "overview"), **more) -> None:
        self.panel = Panel(cameras, extra=("overview",))
        self.robot = create_autospec(Robot, instance=True)
        for name in ("say", "engage", "stop", "reset"):
            getattr(self.robot, name).side_effect = getattr(Robot(), name)
        self.port = free_port()
        robot = self.robot
        actions = Actions(say=robot.say, engage=robot.engage, stop=robot.stop, reset=robot.reset)
        self.server = PanelServer(self.panel, actions, host=host, port=self.port, **more)
        self.server.start()
        self.url = f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, **headers: str) -> tuple[int, str]:
        """(status, text); header names have _ for -."""

        async def asked():
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            async with (
                aiohttp.ClientSession() as http,
                http.request(method, self.url + path, headers=named) as reply,
            ):
                return reply.status, await reply.text()

        return asyncio.run(asyncio.wait_for(asked(), PATIENCE_S))

    def key(self) -> str:
        text = self.ask("GET", "/")[1].replace("&quot;", '"')
        return re.search(r'"key": "([^"]+)"', text)[1]


@pytest.fixture
def site():
    made = Site()
    yield made
    made.server.close()


@pytest.fixture
def open_site():
    """One that listens on all addresses."""
    made = Site("0.0.0.0")
    yield made
    made.server.close()


@asynccontextmanager
async def linked(site: Site, path: str, key: str | None = None, **headers: str):
    key = site.server._access.key if key is None else key
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(site.url + path, headers=headers, max_msg_size=0) as socket,
    ):
        await socket.send_str(json.dumps({"key": key}))
        link = Link(socket)
        assert await link.next() == {"hello": True}
        yield link


def asked(site: Site, verb: str, words: str = "") -> dict:
    async def run():
        async with linked(site, "/control") as link:
            return await link.ask(verb, words)

    return asyncio.run(run())


def image(red: int, green: int, blue: int):
    return lambda: np.full((16, 16, 3), (red, green, blue), np.uint8)


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


def test_an_image_is_made_and_encoded_once_for_many_viewers_and_not_for_none():
    panel = Panel(("front",))
    assert panel.jpeg("front", 0) is None
    made = []
    panel.show("front", lambda: made.append(1) or np.zeros((8, 8, 3), np.uint8))
    assert not made
    assert panel.jpeg("front", 0)[1] is panel.jpeg("front", 0)[1]
    assert made == [1] and panel.jpeg("front", 1) is None


def test_what_is_no_image_is_not_shown_and_not_tried_again():
    panel = Panel(("front",))
    tried = []
    panel.show("front", lambda: tried.append(1))
    assert panel.jpeg("front", 0) is None and panel.jpeg("front", 0) is None and tried == [1]


# Requests


def test_each_request_reaches_its_action(site):
    for verb, name, arguments in (
        ("stop", "stop", ()),
        ("reset", "reset", ()),
        ("engage", "engage", (True,)),
        ("disengage", "engage", (False,)),
    ):
        assert asked(site, verb)["ok"]
        getattr(site.robot, name).assert_called_with(*arguments)
    answer = asked(site, "say", "pick up the red cube\n")
    site.robot.say.assert_called_once_with("pick up the red cube")
    assert answer["ok"] and answer["about"] == "goal 7"


@pytest.mark.parametrize("words", ["stop", "STOP " * 60, "stop\nplease", "\u200bstop"])
def test_a_word_to_stop_is_passed_on_however_it_is_written_and_however_late(
    site, words, monkeypatch
):
    monkeypatch.setattr(control_link, "FRESH_S", -1.0)
    assert asked(site, "say", words)["ok"]
    site.robot.say.assert_called_once_with(words.strip())


def test_a_refused_request_is_told_with_its_sentence(site):
    site.robot.engage.side_effect = lambda engaged: answered(Answer(False, "front is stale"))
    assert asked(site, "engage") == {
        "id": 1,
        "ok": False,
        "message": "front is stale",
        "about": "",
    }


def test_an_action_that_raises_is_told(site):
    site.robot.reset.side_effect = RuntimeError("no such thing")
    answer = asked(site, "reset")
    assert not answer["ok"] and "RuntimeError: no such thing" in answer["message"]


@pytest.mark.parametrize("words", ["", "   ", "x" * 201, "pick\nup", "pick\0", "123"])
def test_what_is_no_instruction_is_not_said(site, words):
    assert not asked(site, "say", words)["ok"]
    site.robot.say.assert_not_called()


@pytest.mark.parametrize(
    "text", ["", "null", "[1]", "{", '{"ask": "dance"}', '{"ask": "say", "words": 7}', "[" * 3000]
)
def test_what_is_no_request_is_refused_and_the_link_stays(site, text):
    async def run():
        async with linked(site, "/control") as link:
            await link.socket.send_str(text)
            refused = await link.next()
            return refused, await link.ask("stop")

    refused, stopped = asyncio.run(run())
    assert not refused["ok"] and stopped["ok"]
    site.robot.say.assert_not_called()


# What is late does not move the robot


def test_a_request_counts_as_old_when_its_beat_is():
    beats = Beats()
    number = beats.beat(100.0)
    assert beats.refuse(number, 100.0 + FRESH_S) is None
    assert "2.5 s" in beats.refuse(number, 102.5)
    assert "unknown" in beats.refuse(number + 1, 100.0)
    for late in (None, "1", True, 0, -1):
        assert beats.refuse(late, 100.0)
    for _ in range(BEATS_KEPT):
        beats.beat(100.1)
    assert "unknown" in beats.refuse(number, 100.1)


@pytest.mark.parametrize("verb", ["say", "engage", "reset"])
def test_a_request_that_was_held_up_is_not_carried_out(site, verb, monkeypatch):
    monkeypatch.setattr(control_link, "FRESH_S", -1.0)
    answer = asked(site, verb, "pick up the cube")
    assert not answer["ok"] and "not carried out" in answer["message"]
    assert site.robot.mock_calls == []


@pytest.mark.parametrize("verb", ["stop", "disengage"])
def test_what_ends_motion_is_never_too_old(site, verb, monkeypatch):
    monkeypatch.setattr(control_link, "FRESH_S", -1.0)
    assert asked(site, verb)["ok"]


def test_an_action_without_an_answer_is_given_up_and_knows_it(site, monkeypatch):
    monkeypatch.setattr(request_queue, "ANSWER_S", 0.1)
    waiting: Future[Answer] = Future()
    site.robot.say.side_effect = lambda words: waiting
    assert asked(site, "say", "go") == {
        "id": 1,
        "ok": False,
        "message": "no answer in 0.1 s",
        "about": "",
    }
    assert waiting.cancelled()


def test_an_action_that_has_not_begun_when_it_is_given_up_never_begins(site, monkeypatch):
    monkeypatch.setattr(request_queue, "ANSWER_S", 0.1)
    blocked = threading.Event()
    site.robot.engage.side_effect = lambda engaged: (
        blocked.wait(PATIENCE_S) and answered(Answer(True, ""))
    )

    async def run():
        async with linked(site, "/control") as link:
            for number in (1, 2, 3):  # as many as there are threads, and one more
                assert not (await link.ask("engage", number=number))["ok"]
            blocked.set()
            while not (await link.ask("reset", number=4))["ok"]:
                await asyncio.sleep(0.02)

    asyncio.run(run())
    assert site.robot.engage.call_count == 2


# A stop gets through


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


# Who is obeyed


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_Key": "wrong"},
        {"X_Key": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "127.0.0.1@evil.example"},
    ],
)
def test_who_is_not_the_page_stops_nothing(site, headers):
    good = {"X_Key": site.key()} if "X_Key" not in headers and headers else {}
    assert site.ask("POST", "/stop", **good, **headers)[0] == 403
    assert site.robot.mock_calls == []


@pytest.mark.parametrize("path", ["/control", "/live"])
@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}]
)
def test_no_link_with_who_is_not_the_page(site, path, headers):
    async def run():
        async with linked(site, path, **headers):
            pass

    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        asyncio.run(run())
    assert refused.value.status == 403


@pytest.mark.parametrize("path", ["/control", "/live"])
@pytest.mark.parametrize(
    "first", ['{"key": "wrong"}', '{"key": null}', "{}", "", '{"id": 1, "ask": "stop"}']
)
def test_a_link_without_the_key_is_closed_and_tells_nothing(site, path, first):
    site.panel.tell(secret="where the robot is")

    async def run():
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(site.url + path) as socket,
        ):
            await socket.send_str(first)
            message = await asyncio.wait_for(socket.receive(), PATIENCE_S)
            return message.type, message.data

    assert asyncio.run(run()) == (aiohttp.WSMsgType.CLOSE, NO_KEY)
    assert site.robot.mock_calls == []


def test_another_host_name_does_not_even_get_the_page(site):
    status, text = site.ask("GET", "/", Host=f"evil.example:{site.port}")
    assert status == 403 and "key" not in text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "localhost:9999", "LOCALHOST"])
def test_the_page_itself_is_obeyed_through_a_tunnel_too(site, host):
    key = site.key()
    assert site.ask("POST", "/stop", X_Key=key, Host=host, Origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize("path", ["/say", "/engage", "/reset", "/disengage"])
def test_nothing_but_stop_is_a_post(site, path):
    assert site.ask("POST", path, X_Key=site.key())[0] == 404


def test_a_get_stops_nothing(site):
    assert site.ask("GET", "/stop", X_Key=site.key())[0] == 405
    assert site.robot.mock_calls == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0"])
def test_a_forged_host_does_not_yield_the_key_beyond_loopback(open_site, host):
    _, text = open_site.ask("GET", "/", Host=f"{host}:{open_site.port}")
    assert open_site.server._access.key not in text
    assert open_site.server.url.endswith(f"/#{open_site.server._access.key}")


def test_beyond_loopback_the_key_of_the_printed_address_works(open_site):
    assert asked(open_site, "stop")["ok"]


def test_the_names_under_which_a_page_is_served():
    local, everywhere = access("127.0.0.1"), access("0.0.0.0", ["robot.lab", " "])
    assert refuse_host(local, "localhost:8765", "127.0.0.1") is None
    assert refuse_host(local, "[::1]:8765", "::1") is None
    for host in ("", "robot.lab", "localhost.", "localhost:x", "[::1", "a b", "192.168.1.5"):
        assert refuse_host(local, host, "192.168.1.5"), host
    assert refuse_host(everywhere, "192.168.1.5:8765", "192.168.1.5") is None
    assert refuse_host(everywhere, "192.168.1.5:8765", "::ffff:192.168.1.5") is None
    assert refuse_host(everywhere, "Robot.Lab:8765", "192.168.1.5") is None
    for host in ("192.168.1.6:8765", "evil.example:8765", "0.0.0.0"):
        assert refuse_host(everywhere, host, "192.168.1.5"), host
    assert not everywhere.local and not access("192.168.1.5").local
    assert access("127.0.0.2").local and access("::1").local and access("localhost").local


def test_an_origin_is_the_page_s_own_or_none():
    assert refuse_origin(None, "a:1") is None and refuse_origin("http://a:1", "a:1") is None
    for origin in ("", "null", "http://a", "http://a:1/", "http://a:12", "ftp://a:1"):
        assert refuse_origin(origin, "a:1"), origin


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
