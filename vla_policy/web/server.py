"""The page's web server: pictures as MJPEG, state as JSON, requests by POST.

Whoever can make the browser of the operator load something must not be able to move the robot:
only Host names of this machine are served (no DNS rebinding), and a POST needs the random token that
is in the page and, where the browser names one, an Origin that is the page's own.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiohttp import web

from vla_policy.instruction import stop_of
from vla_policy.web.panel import Actions, Answer, Panel

PAGE = Path(__file__).with_name("page.html")
LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
FRAME_S = 0.05  # how often a stream looks for a new image
MAX_BODY_BYTES = 4096
MAX_INSTRUCTION = 200  # characters
STOP_S = 3.0


class Server:
    """Serves one panel in a thread of its own, from start() to close()."""

    def __init__(self, panel: Panel, actions: Actions, *, host: str, port: int) -> None:
        self._panel, self._actions = panel, actions
        self._host, self._port = host, port
        self._token = secrets.token_urlsafe(24)
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="web", daemon=True)
        self._runner: web.AppRunner | None = None
        # Its own thread: a stop never waits behind other requests.
        self._stop_pool = ThreadPoolExecutor(1, "web-stop")

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{self._host}:{self._port}/"

    def start(self) -> None:
        """Listen. Raises ValueError with a sentence if the address cannot be had."""
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
        """End all streams and free the port."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result(timeout=2 * STOP_S)
        self._stop_loop()

    def _stop_loop(self) -> None:
        self._stop_pool.shutdown(wait=False)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=STOP_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/", self._page)
        app.router.add_get("/state", self._state)
        app.router.add_get("/camera/{name}", self._camera)
        for name in ("say", "engage", "disengage", "stop", "reset"):
            app.router.add_post(f"/{name}", self._act)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError:
            await self._runner.cleanup()
            raise

    async def _finish(self) -> None:
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guard(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        names = {f"{name}:{self._port}" for name in (*LOCAL_NAMES, self._host)}
        if request.headers.get("Host", "") not in names:
            raise web.HTTPForbidden(text="this page is served to this machine only")
        if request.method == "POST":
            origin = request.headers.get("Origin")
            if origin is not None and origin not in {f"http://{name}" for name in names}:
                raise web.HTTPForbidden(text="requests come from the page itself only")
            token = request.headers.get("X-Token", "")
            if not secrets.compare_digest(token.encode(), self._token.encode()):
                raise web.HTTPForbidden(text="the token is missing or old; load the page again")
        return await handler(request)

    async def _page(self, request: web.Request) -> web.Response:
        fill = {"token": self._token, "cameras": list(self._panel.cameras)}
        # "<" cannot end the script element that this is put into.
        text = PAGE.read_text().replace("/*fill*/null", json.dumps(fill).replace("<", "\\u003c"))
        headers = {
            "Cache-Control": "no-store",
            "X-Frame-Options": "DENY",
            "Content-Security-Policy": "default-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
        }
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response(dict(self._panel.state), headers={"Cache-Control": "no-store"})

    async def _camera(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in self._panel.cameras:
            raise web.HTTPNotFound(text=f"no camera {name!r}")
        response = web.StreamResponse(
            headers={
                "Content-Type": "multipart/x-mixed-replace; boundary=frame",
                "Cache-Control": "no-store",
            }
        )
        await response.prepare(request)
        number = 0
        try:
            while not self._closing.is_set():
                found = await self._loop.run_in_executor(None, self._panel.jpeg, name, number)
                if found is not None:
                    number, data = found
                    await response.write(
                        b"--frame\r\nContent-Type: image/jpeg\r\n"
                        b"Content-Length: %d\r\n\r\n%b\r\n" % (len(data), data)
                    )
                await asyncio.sleep(FRAME_S)
        except ConnectionError:
            return response  # the viewer has gone
        return response

    async def _act(self, request: web.Request) -> web.Response:
        verb = request.path[1:]
        stops = verb == "stop"
        if verb == "say":
            words = (await request.text()).strip()
            stops = stop_of(words) is not None  # whatever else is wrong with it
            fits = 0 < len(words) <= MAX_INSTRUCTION and words.isprintable()
            if not stops and not fits:
                answer = Answer(False, f"expected one line of 1 to {MAX_INSTRUCTION} characters")
                return _reply(answer, 400)
            call = lambda: self._actions.say(words)  # noqa: E731
        elif verb in ("engage", "disengage"):
            call = lambda: self._actions.engage(verb == "engage")  # noqa: E731
        else:
            call = {"stop": self._actions.stop, "reset": self._actions.reset}[verb]
        pool = self._stop_pool if stops else None
        answer = await self._loop.run_in_executor(pool, call)
        return _reply(answer, 200 if answer.ok else 409)


def _reply(answer: Answer, status: int) -> web.Response:
    return web.json_response({"ok": answer.ok, "message": answer.message}, status=status)
