"""The page's web server: its files, and two WebSockets for each open page.

Browsers share six HTTP connections to a host among all tabs. WebSockets do not count, so each of
any number of open pages has its link for requests (control_link) beside the one for images and
status (live_link); POST /stop and /stop_all are the way to stop while a page reconnects its link.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
import os
import ssl
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from aiohttp import WSCloseCode, WSMsgType, web

from vla_policy.runtime import stop_words
from vla_policy.runtime.instruction import SHORT, folded
from vla_policy.web import access, control_link, live_link
from vla_policy.web.control_link import carried_out, parsed
from vla_policy.web.documents import HEADERS as VIEW_HEADERS
from vla_policy.web.documents import PATH as VIEW
from vla_policy.web.documents import Documents
from vla_policy.web.feed import Feed
from vla_policy.web.panel import Actions, Panel
from vla_policy.web.request_queue import Desk

FOLDER = Path(__file__).parent
FILES = {
    "page.html": "text/html",
    "page.css": "text/css",
    **{
        f"{name}.js": "text/javascript"
        for name in (
            *("page", "link", "stop", "words", "views", "overlay", "told"),
            *("timeline", "controls", "recording", "drive", "library", "robots"),
        )
    },
}
HEADERS = {
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
STOPS = ("stop", "stop_all")  # requests that are also a POST
MAX_BODY_BYTES = 4096
MAX_PAGES = 32
KEY_S = 3.0  # time-out of the first message of a link
DEAD_S = 5.0  # between pings of a link
CLOSE_S = 3.0
LOG = logging.getLogger(__name__)
NO_KEY, TOO_MANY = 4003, 4029  # close codes of refused links
KEY_REFUSED = "the key is missing, wrong or old"
LOWER = 5  # added niceness of the image threads


class PanelServer:
    """Serves one panel in its own thread, from start() to close().

    names: further host names under which browsers may reach it. documents: files that pages may
    open. token: that the page asks for; None: on loopback alone. tls: for https, None: http.
    Raises ValueError beyond loopback without a token.
    """

    def __init__(
        self,
        panel: Panel,
        actions: Actions,
        *,
        host: str,
        port: int,
        names: Iterable[str] = (),
        documents: Documents | None = None,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._panel = panel
        self._host, self._port, self._tls = host, port, tls
        self._access = access.access(host, names, token=token, tls=tls is not None)
        self._desk = Desk(actions)
        self._documents = documents or Documents()
        self._encoder = ThreadPoolExecutor(1, "web-pictures", initializer=_go_behind)
        self._feed = Feed(panel, self._encoder)
        self._files = {name: (FOLDER / name).read_text() for name in FILES}
        self._links: set[web.WebSocketResponse] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="web", daemon=True)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The page's address, as browsers reach it."""
        return access.page_url(self._host, self._port, tls=self._tls is not None)

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the page."""
        return self._access.local

    @property
    def asks(self) -> bool:
        """Whether the page asks for a token."""
        return self._access.asks

    def start(self) -> None:
        """Listen. Raises ValueError with a sentence if the address is not available."""
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(timeout=10.0)
        except OSError as error:
            self._stop_loop()
            raise ValueError(
                f"the page cannot listen on {self._host} port {self._port}: "
                f"{error.strerror or error}; choose another with the parameter port"
            ) from error

    def close(self) -> None:
        """Close all links and free the port."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result(timeout=2 * CLOSE_S)
        self._stop_loop()

    def _stop_loop(self) -> None:
        self._desk.close()
        self._encoder.shutdown(wait=False, cancel_futures=True)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/", self._page)
        app.router.add_get("/{name:page.css|[a-z]+.js}", self._file)
        app.router.add_get("/control", self._control)
        app.router.add_get("/live", self._live)
        app.router.add_get(VIEW + "{token}", self._view)
        for verb in STOPS:
            app.router.add_post(f"/{verb}", partial(self._stop, verb))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_S)
        await self._runner.setup()
        try:
            site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._tls)
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise

    async def _finish(self) -> None:
        code, why = WSCloseCode.GOING_AWAY, b"the page's server ends"
        endings = [link.close(code=code, message=why) for link in self._links]
        await asyncio.wait_for(asyncio.gather(*endings, return_exceptions=True), CLOSE_S)
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guard(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        address = request.transport.get_extra_info("sockname") if request.transport else None
        refusal = access.refuse_host(self._access, host, str(address[0]) if address else "")
        upgrade = "Upgrade" in request.headers
        if refusal is None and (request.method != "GET" or upgrade):
            origin = request.headers.get("Origin")
            refusal = access.refuse_origin(origin, host, self._access.schemes)
        if refusal is not None:
            raise web.HTTPForbidden(text=refusal)
        return await handler(request)

    async def _page(self, request: web.Request) -> web.Response:
        fill = {
            "key": None if self._access.asks else self._access.key,
            "cameras": list(self._panel.cameras),
            "extra": list(self._panel.extra),
            # The page recognises these itself; misspelled ones are recognised by the server.
            "stops": {
                "anywhere": _as_said(stop_words.LATCHING),
                "first": _as_said(stop_words.LATCHING_FIRST),
                "alone": _as_said(stop_words.LATCHING_ALONE),
                "phrases": _as_said(stop_words.LATCHING_PHRASES),
                "harmless": sorted(stop_words.HARMLESS),
                "short": SHORT,
            },
        }
        text = self._files["page.html"].replace(
            "FILLED BY THE SERVER", html.escape(json.dumps(fill))
        )
        return web.Response(text=text, content_type="text/html", headers=HEADERS)

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in FILES:
            raise web.HTTPNotFound(text=f"no file {name!r}")
        return web.Response(text=self._files[name], content_type=FILES[name], headers=HEADERS)

    async def _view(self, request: web.Request) -> web.StreamResponse:
        file = self._documents.find(request.match_info["token"])
        if file is None or not file.is_file():
            raise web.HTTPNotFound(text="this view is gone; open it anew from the page")
        return web.FileResponse(file, headers={**VIEW_HEADERS, "Content-Type": "text/html"})

    async def _stop(self, verb: str, request: web.Request) -> web.Response:
        if not access.has_key(self._access, request.headers.get("X-Key")):
            raise web.HTTPForbidden(text=f"{KEY_REFUSED}; load the page again")
        answer = await carried_out(self._desk, verb)
        told = {"ok": answer.ok, "message": answer.message}
        return web.json_response(told, status=200 if answer.ok else 409, headers=HEADERS)

    async def _control(self, request: web.Request) -> web.WebSocketResponse:
        return await self._linked(request, lambda link: control_link.serve(link, self._desk))

    async def _live(self, request: web.Request) -> web.WebSocketResponse:
        return await self._linked(
            request,
            lambda link: live_link.serve(link, self._feed),
            room=len(self._links) < 2 * MAX_PAGES,
        )

    async def _linked(
        self,
        request: web.Request,
        serve: Callable[[web.WebSocketResponse], Awaitable[None]],
        *,
        room: bool = True,
    ) -> web.WebSocketResponse:
        """Serve a link whose first message contains the key."""
        link = web.WebSocketResponse(heartbeat=DEAD_S, max_msg_size=MAX_BODY_BYTES, compress=False)
        self._links.add(link)
        try:
            await link.prepare(request)
            if not access.has_key(self._access, await _shown_key(link)):
                await link.close(code=NO_KEY, message=KEY_REFUSED.encode())
            elif not room:
                why = f"{MAX_PAGES} pages are open already"
                await link.close(code=TOO_MANY, message=why.encode())
            else:
                await link.send_str(json.dumps({"hello": True}))
                await serve(link)
        except ConnectionError:
            LOG.debug("a page has gone while its link came about")
        finally:
            self._links.discard(link)
        return link


def _as_said(words: Iterable[str]) -> list[str]:
    return sorted({folded(word) for word in words})


async def _shown_key(link: web.WebSocketResponse) -> object:
    try:
        first = await link.receive(timeout=KEY_S)
    except asyncio.TimeoutError:
        return None
    return parsed(first.data).get("key") if first.type is WSMsgType.TEXT else None


def _go_behind() -> None:
    """Lower the priority of this thread, which encodes images; on Linux each has its own."""
    if sys.platform == "linux":
        own = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(own + LOWER, 19))
