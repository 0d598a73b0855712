"""The page's server on loopback, with a robot that is a stand-in."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
from concurrent.futures import Future
from contextlib import asynccontextmanager
from unittest.mock import create_autospec

import aiohttp
import numpy as np
from web_client import PATIENCE_S, Link

from vla_policy.web.panel import Actions, Answer, Panel
from vla_policy.web.server import PanelServer
from vla_policy.web.tls import server_tls

TOKEN = "an-operators-token"


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

    def __init__(
        self, host: str = "127.0.0.1", cameras=("front", "overview"), more=None, drive=None,
        *, token: str | None = None, certificate: tuple[str, str] | None = None, documents=None,
    ) -> None:  # fmt: skip
        self.panel = Panel(cameras, extra=("overview",))
        self.robot = create_autospec(Robot, instance=True)
        for name in ("say", "engage", "stop", "reset"):
            getattr(self.robot, name).side_effect = getattr(Robot(), name)
        self.port = free_port()
        robot = self.robot
        actions = Actions(
            say=robot.say,
            engage=robot.engage,
            stop=robot.stop,
            reset=robot.reset,
            more={} if more is None else more,
            drive=drive,
        )
        tls = None if certificate is None else server_tls(*certificate)
        # Of a client: it checks the server's certificate as a browser does.
        self.trust = certificate is None or ssl.create_default_context(cafile=certificate[0])
        self.server = PanelServer(
            self.panel, actions, host=host, port=self.port, token=token, tls=tls,
            documents=documents,
        )  # fmt: skip
        self.server.start()
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, **headers: str) -> tuple[int, str]:
        """(status, text); header names have _ for -."""

        async def asked():
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            async with (
                aiohttp.ClientSession() as http,
                http.request(method, self.url + path, headers=named, ssl=self.trust) as reply,
            ):
                self.cookies = reply.headers.getall("Set-Cookie", [])
                return reply.status, await reply.text()

        return asyncio.run(asyncio.wait_for(asked(), PATIENCE_S))

    def key(self) -> str:
        text = self.ask("GET", "/")[1].replace("&quot;", '"')
        return re.search(r'"key": "([^"]+)"', text)[1]


@asynccontextmanager
async def linked(site: Site, path: str, key: str | None = None, **headers: str):
    key = site.server._access.key if key is None else key
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(
            site.url + path, headers=headers, max_msg_size=0, ssl=site.trust
        ) as socket,
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
