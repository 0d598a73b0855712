"""A policy for robots on a network: openpi's WebSocket, OpenVLA's /act, /healthz, /metrics.

All on one port. A connection is answered only after its request and its token have come in time.
Input is checked before any object is created from it; an error is reported as one sentence.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from aiohttp import WSMsgType, web

from vla_policy.remote import answers, openvla, wire
from vla_policy.remote.answers import Copies, InferMany, Served
from vla_policy.remote.batcher import Batcher
from vla_policy.remote.budget import Budget
from vla_policy.remote.gate import Doors
from vla_policy.remote.handshake import Offer, metadata
from vla_policy.remote.journal import Journal
from vla_policy.remote.listening import Listening
from vla_policy.remote.messages import ENDPOINT, OWN, Asked, read_request
from vla_policy.remote.metrics import Metrics, count
from vla_policy.remote.process_memory import keep_memory_small
from vla_policy.remote.replies import endpoint_answer, reply_to, request_of
from vla_policy.remote.serving import (
    NO_TOKEN,
    OPEN_TO_ALL,
    Serving,
    authorised,
    judge_head,
    refuse_stranger,
)
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.types import Reason

PING_S = 5.0  # a client that completes no message, not even a pong, within twice this is dropped
SEND_S = 5.0  # for a client to receive an answer
BODY_S = 10.0
CLOSE_S = 2.0
MAX_WRONG = 3  # invalid messages in a row
CONTROL_S = 0.0002  # processor time of a ping or a pong
HTTP = {"busy": 503, "closing": 503, "late": 504, "refused": 422, "failed": 500}

NO_ADAPTERS: Mapping[str, Served] = {}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """One policy on one port.

    policy: None where copies compute. infer_many: several observations at once, where the policy can; most: how many.
    adapters: name -> the policy with that adapter; its contract is the same.
    looks_at_state: whether the policy reads the robot's state; OpenVLA's clients send none.
    copies: of the policy and its adapters in other processes, which compute instead.
    """

    def __init__(
        self,
        policy: PolicyProtocol | None,
        offer: Offer,
        serving: Serving,
        journal: Journal,
        *,
        infer_many: InferMany | None = None,
        most: int = 8,
        looks_at_state: bool = True,
        adapters: Mapping[str, Served] = NO_ADAPTERS,
        copies: Copies | None = None,
    ) -> None:
        if (policy is None) == (copies is None):
            raise ValueError("server: expected either a policy or copies of one")
        self._offer, self._serving, self._journal = offer, serving, journal
        self._looks_at_state, self._copies = looks_at_state, copies
        self._hello = wire.encode(metadata(offer))  # the same for each connection
        self._served: dict[str | None, Served] = {}
        if policy is not None:
            self._served[None] = Served(policy, infer_many)
            self._served.update(adapters.items())
        self.metrics, self._infer_lock = Metrics(), threading.Lock()
        names = (None, *offer.adapters, *adapters)
        self._batcher = Batcher(
            self._answer,
            most if any(map(self._can_batch, names)) else 1,
            1 if copies is None else copies.count,
        )
        self._pictures = ThreadPoolExecutor(2, thread_name_prefix="pictures")
        self.budget = Budget()
        self._doors = Doors(
            serving.connections + serving.strangers,
            self._turned_away,
            lambda head: judge_head(serving, head),
            self.budget,
        )
        self._sockets: set[web.WebSocketResponse] = set()
        self._numbers = itertools.count(1)
        self._limits = wire.MessageLimits(size=serving.max_bytes)

    async def start(self) -> int:
        """Start listening; returns the port."""
        app = web.Application(middlewares=[self._guarded], client_max_size=self._serving.max_bytes)
        app.router.add_get("/", self._on_socket)
        app.router.add_get(OPEN_TO_ALL, self._on_health)
        app.router.add_get("/metrics", self._on_metrics)
        app.router.add_post("/act", self._on_act)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=15.0,
            handle_signals=False,
            shutdown_timeout=CLOSE_S,
        )
        await self._runner.setup()
        serve = cast(Callable[[], asyncio.Protocol], self._runner.server)
        tls = self._serving.tls()
        self._listening = Listening(serve, self._doors, tls)
        port = await self._listening.start(self._serving.host, self._serving.port)
        self._tidying = asyncio.create_task(keep_memory_small(self._refused, self._pictures))
        self._journal.write(
            "listening", host=self._serving.host, port=port, tls=tls is not None,
            token=self._serving.token is not None, policy=self._offer.policy,
        )  # fmt: skip
        return port

    async def stop(self) -> None:
        """Accept no more connections, answer running requests, close the others with a message."""
        await self._listening.stop()
        self._tidying.cancel()
        await self._batcher.close()
        closing = [s.close(code=1001, message=b"the server ends") for s in self._sockets]
        await asyncio.wait_for(
            asyncio.gather(*closing, return_exceptions=True), timeout=2 * CLOSE_S
        )
        await self._runner.cleanup()
        self._pictures.shutdown()
        self._journal.write("ended", requests=self.metrics.requests)

    def _can_batch(self, adapter: str | None) -> bool:
        if self._copies is not None:
            return self._copies.can_batch
        return adapter in self._served and self._served[adapter].infer_many is not None

    def _answer(self, batch: Sequence[Asked]) -> Sequence[Any]:
        """Runs in a worker thread."""
        started_s = time.perf_counter()
        outcomes: Sequence[Any]
        if self._copies is None:
            # The same for all of a batch: it is part of their kind.
            served = self._served[batch[0].adapter]
            outcomes = answers.answer(served.policy, batch, self._on_error, served.infer_many)
        else:
            try:
                outcomes = self._copies.answer(batch)
            except Exception as error:  # noqa: BLE001 - a copy that died; the robots hold, and ask again
                self._on_error(error)
                outcomes = [Reason("failed", "a copy of the model failed")] * len(batch)
        with self._infer_lock:
            self.metrics.infer_s.add(time.perf_counter() - started_s)
        return outcomes

    def _on_error(self, error: Exception) -> None:
        text = "".join(traceback.format_exception(error))
        self._journal.write("model_raised", error=type(error).__name__, traceback=text)

    def _refused(self) -> int:
        """Messages and connections so far."""
        return self.metrics.requests.get("wrong", 0) + sum(self.metrics.refused.values())

    def _turned_away(self, why: str) -> None:
        count(self.metrics.refused, why)
        self._journal.write("connection_refused", why=why)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuses pages of other sites, and clients without the token."""
        problem = refuse_stranger(self._serving, request.host, request.headers.get("Origin"))
        if problem is not None:
            self._turned_away("stranger")
            return web.Response(status=403, text=f"{problem}\n", headers={"Connection": "close"})
        public = request.path == OPEN_TO_ALL
        if not public and not authorised(self._serving, request.headers.get("Authorization")):
            self._turned_away("token")
            return web.Response(
                status=401,
                text=NO_TOKEN,
                headers={"WWW-Authenticate": "Bearer", "Connection": "close"},
            )
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - the client receives no more than that
            self._on_error(error)
            return web.Response(status=500, text="the server failed; its log has what\n")

    async def _on_health(self, request: web.Request) -> web.Response:
        # Everybody may ask, so nobody keeps a place by asking.
        return web.Response(text="OK\n", headers={"Connection": "close"})

    async def _on_metrics(self, request: web.Request) -> web.Response:
        load = self._batcher.load
        text = self.metrics.text(
            waiting=self._batcher.waiting, connections=self._doors.open, batches_total=load.batches,
            batched_requests_total=load.jobs, batch_seconds=load.batch_s,
        )  # fmt: skip
        return web.Response(text=text, content_type="text/plain")

    async def _on_act(self, request: web.Request) -> web.Response:
        """OpenVLA's protocol: one image and one sentence in JSON, one action back."""
        started_s, transport = time.monotonic(), request.transport
        began_s = time.thread_time()
        try:
            body = await asyncio.wait_for(request.read(), BODY_S)
            await self._doors.turn(transport)
            began_s = time.thread_time()
            asked, wrapped = openvla.read_act(
                body, self._offer.contract, looks_at_state=self._looks_at_state
            )
        except asyncio.TimeoutError:
            return web.Response(status=408, text="the request did not come in time\n")
        except ValueError as error:
            count(self.metrics.requests, "wrong")
            self._doors.judged(transport, time.thread_time() - began_s)
            return web.Response(status=400, text=f"{error}\n")
        self._doors.judged(transport)
        outcome = await self._ask(request.remote, asked, started_s)
        if isinstance(outcome, Reason):
            return web.Response(status=HTTP[outcome.code], text=f"{outcome.detail}\n")
        return web.Response(
            body=openvla.write_act(outcome[0], wrapped), content_type="application/json"
        )

    async def _on_socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(
            autoping=False, compress=False, max_msg_size=self._serving.max_bytes, timeout=CLOSE_S
        )
        if not socket.can_prepare(request).ok:
            return web.Response(
                status=426, text="this is a WebSocket server; see docs/serving.md\n"
            )
        if len(self._sockets) >= self._serving.connections:
            self._turned_away("full")
            return web.Response(
                status=503, text=f"{len(self._sockets)} robots are connected, which is the most\n"
            )
        self._sockets.add(socket)
        name = f"robot {next(self._numbers)}"
        self._journal.write("connected", client=name, address=request.remote)
        self.metrics.robots += 1
        why = "closed"
        try:
            await socket.prepare(request)
            why = await self._converse(socket, name, request.transport)
        except (ConnectionError, asyncio.TimeoutError) as error:
            why = type(error).__name__
        finally:
            self._sockets.discard(socket)
            self.metrics.robots -= 1
            self._journal.write("disconnected", client=name, why=why)
        # One that was gone before the handshake was written gets nothing; aiohttp wants an answer all the same.
        return socket if socket.prepared else web.Response(status=400)

    async def _converse(
        self, socket: web.WebSocketResponse, name: str, transport: asyncio.BaseTransport | None
    ) -> str:
        """Serve until the client leaves; returns why.

        One task reads, so pings are answered; one answers.
        """
        await _send(socket, self._hello)
        inbox: asyncio.Queue[bytes] = asyncio.Queue(2)
        answering = asyncio.create_task(self._answer_all(socket, name, inbox, transport))
        try:
            reading = asyncio.create_task(self._read_all(socket, inbox, transport))
            done, _ = await asyncio.wait({reading, answering}, return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            return done.pop().result()
        finally:
            answering.cancel()
            with contextlib.suppress(
                asyncio.CancelledError, ConnectionError, asyncio.TimeoutError
            ):
                await answering
            await socket.close()

    async def _read_all(
        self,
        socket: web.WebSocketResponse,
        inbox: asyncio.Queue[bytes],
        transport: asyncio.BaseTransport | None,
    ) -> str:
        heard_s = time.monotonic()
        while True:
            try:
                message = await socket.receive(timeout=PING_S)
            except asyncio.TimeoutError:
                if time.monotonic() - heard_s >= 2 * PING_S:
                    self._turned_away("silent")
                    return "silent"
                await asyncio.wait_for(socket.ping(), SEND_S)
                continue
            heard_s = time.monotonic()
            if message.type in (WSMsgType.PING, WSMsgType.PONG):
                self._doors.pay(transport, CONTROL_S)
            if message.type == WSMsgType.BINARY:
                if inbox.full():
                    await _say(socket, "send one request at a time, and wait for its answer")
                    return "too many requests at a time"
                inbox.put_nowait(message.data)
            elif message.type == WSMsgType.PING:
                await asyncio.wait_for(socket.pong(message.data), SEND_S)
            elif message.type == WSMsgType.TEXT:
                await _say(socket, "requests are binary frames of msgpack, not text")
                return "text"
            elif message.type != WSMsgType.PONG:
                return "closed" if message.type != WSMsgType.ERROR else "not a WebSocket frame"

    async def _answer_all(
        self,
        socket: web.WebSocketResponse,
        name: str,
        inbox: asyncio.Queue[bytes],
        transport: asyncio.BaseTransport | None,
    ) -> str:
        wrong, before_ms = 0, 0.0
        while wrong < MAX_WRONG:
            data = await inbox.get()
            started_s = time.monotonic()
            await self._doors.turn(transport)
            began_s = time.thread_time()
            message: Any = None
            try:
                message = wire.decode(data, self._limits)
                if isinstance(message, dict) and message.get(ENDPOINT, "infer") != "infer":
                    await _say(socket, endpoint_answer(message[ENDPOINT]))
                    self._doors.pay(transport, time.thread_time() - began_s)
                    continue
                asked = await self._read(message)
            except ValueError as error:
                wrong += 1
                count(self.metrics.requests, "wrong")
                await self._refuse(socket, request_of(message), Reason("wrong", str(error)))
                self._doors.judged(transport, time.thread_time() - began_s)
                continue
            wrong = 0
            self._doors.judged(transport)
            outcome = await self._ask(name, asked, started_s)
            took_s = time.monotonic() - started_s
            if isinstance(outcome, Reason):
                own = {"request_id": asked.request_id} if asked.own else None
                await self._refuse(socket, own, outcome)
            else:
                infer_ms = 1e3 * self._batcher.load.batch_s
                reply = reply_to(asked, outcome, infer_ms, before_ms)
                await _send(socket, wire.encode(reply))
            before_ms = 1e3 * took_s
        return "wrong messages"

    async def _read(self, message: Any) -> Asked:
        """Decodes compressed images in a thread."""
        if isinstance(message, dict) and any(isinstance(v, bytes) for v in message.values()):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self._pictures, read_request, message, self._offer.contract, self._offer.adapters
            )
        return read_request(message, self._offer.contract, self._offer.adapters)

    async def _ask(self, client: Any, asked: Asked, started_s: float) -> Any:
        allowed_s = asked.deadline_s or self._serving.deadline_s
        kind = answers.kind_of(asked) if self._can_batch(asked.adapter) else None
        outcome = await self._batcher.submit(
            client, asked, deadline_s=started_s + allowed_s, kind=kind
        )
        count(self.metrics.requests, outcome.code if isinstance(outcome, Reason) else "ok")
        self.metrics.answer_s.add(time.monotonic() - started_s)
        return outcome

    async def _refuse(
        self, socket: web.WebSocketResponse, own: dict[str, Any] | None, why: Reason
    ) -> None:
        """Our client receives an error as a message, openpi's as text, which it raises."""
        self._journal.write("refused", code=why.code, says=why.detail[:300])
        if own is None:
            await _say(socket, why.detail)
            return
        said = {OWN: own, "error": {"code": why.code, "detail": why.detail[:1000]}}
        await _send(socket, wire.encode(said))


async def _say(socket: web.WebSocketResponse, text: str) -> None:
    await asyncio.wait_for(socket.send_str(text[:1000]), SEND_S)


async def _send(socket: web.WebSocketResponse, data: bytes) -> None:
    await asyncio.wait_for(socket.send_bytes(data), SEND_S)
