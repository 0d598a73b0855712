"""The link of a page for requests: stop and the others, their answers, and a heartbeat.

It carries neither images nor status. Text frames of JSON:
page:   {"key": ...} first; then {"id": n, "ask": verb, "words": ..., "with": {...}, "beat":
        newest beat received}, and {"drive": {...}, "beat": ...} while a person drives from the
        page
server: {"hello": true}; {"beat": n} every BEAT_S; {"id": n, "ok": ..., "message": ..., "about": ...};
        {"hand": why the motion is not published, or ""} when that changes
A request that may move the robot names the newest beat at that time. If the server or the network
was delayed since, the request is refused instead of being executed late; manual motion is refused
much earlier than the rest.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from aiohttp import WSMsgType, web

from vla_policy.web.panel import Answer
from vla_policy.web.request_queue import NOTHING, Desk

BEAT_S = 0.25
FRESH_S = 2.0
HAND_S = 0.75  # covers one beat period and a round trip
BEATS_KEPT = 40
UNDER_WAY = 8  # open requests of one page at a time; a stop is always accepted
LOG = logging.getLogger(__name__)


class Beats:
    """The times at which the newest beats were sent."""

    def __init__(self) -> None:
        self._sent: OrderedDict[int, float] = OrderedDict()
        self._last = 0

    def beat(self, now_s: float) -> int:
        """The number of a new beat."""
        self._last += 1
        self._sent[self._last] = now_s
        if len(self._sent) > BEATS_KEPT:
            self._sent.popitem(last=False)
        return self._last

    def refuse(self, number: object, now_s: float, fresh_s: float | None = None) -> str | None:
        """Why a request made at this beat is too old, one sentence; None if it is not."""
        sent_s = self._sent.get(number) if type(number) is int else None
        fresh_s = FRESH_S if fresh_s is None else fresh_s
        if sent_s is None or not now_s - sent_s <= fresh_s:
            age = "an unknown time" if sent_s is None else f"{now_s - sent_s:.1f} s"
            return f"this request was on its way for {age}, so it was not carried out"
        return None


async def serve(socket: web.WebSocketResponse, desk: Desk) -> None:
    """Answer the requests of one page that has sent its key, until it disconnects."""
    beats = Beats()
    under_way: set[asyncio.Task[None]] = set()
    hand = ""
    beating = asyncio.create_task(_beat(socket, beats))
    try:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            request = parsed(message.data)
            if "drive" in request:
                why = _drive(desk, beats, request)
                if why != hand:
                    hand = why
                    await _send(socket, {"hand": why})
                continue
            if not desk.urgent(request.get("ask")) and len(under_way) >= UNDER_WAY:
                busy = Answer(False, f"{UNDER_WAY} requests of this page wait already")
                await _reply(socket, request, busy)
                continue
            task = asyncio.create_task(_carry_out(socket, desk, beats, request))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
    finally:
        beating.cancel()  # open requests continue: the page may have closed right after a stop


def _drive(desk: Desk, beats: Beats, request: dict[str, Any]) -> str:
    """Publish manual motion; returns why not, if late or invalid: then the robot comes to rest."""
    details = request["drive"]
    late = beats.refuse(request.get("beat"), time.monotonic(), HAND_S)
    if late is not None:
        return late
    if not isinstance(details, dict):
        return f"got {str(details)[:40]!r}, expected the motion of a hand"
    return desk.drive(details) or ""


def parsed(text: str) -> dict[str, Any]:
    """A request of the page; without "ask" if text is invalid."""
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return request if isinstance(request, dict) else {}


async def _carry_out(
    socket: web.WebSocketResponse, desk: Desk, beats: Beats, request: dict[str, Any]
) -> None:
    verb: Any = request.get("ask")
    words, details = request.get("words", ""), request.get("with", {})
    texts = isinstance(verb, str) and isinstance(words, str)
    if not texts or verb not in desk.verbs or not isinstance(details, dict):
        answer = Answer(False, f"got {str(verb)[:40]!r}, expected one of {', '.join(desk.verbs)}")
    else:
        late = beats.refuse(request.get("beat"), time.monotonic())
        if late is not None and desk.may_move(verb, words):
            answer = Answer(False, late)
        else:
            answer = await carried_out(desk, verb, words, details)
    await _reply(socket, request, answer)


async def carried_out(
    desk: Desk, verb: str, words: str = "", details: Mapping[str, Any] = NOTHING
) -> Answer:
    """The desk's answer; an exception of an action is reported to the page and logged."""
    try:
        return await desk.ask(verb, words, details)
    except ValueError as error:
        return Answer(False, str(error))
    except Exception as error:  # outermost: the failure must be reported to the page
        LOG.exception("%s", verb)
        return Answer(False, f"{verb} failed: {type(error).__name__}: {error}")


async def _beat(socket: web.WebSocketResponse, beats: Beats) -> None:
    while not socket.closed:
        await _send(socket, {"beat": beats.beat(time.monotonic())})
        await asyncio.sleep(BEAT_S)


async def _reply(socket: web.WebSocketResponse, request: dict[str, Any], answer: Answer) -> None:
    told = {"ok": answer.ok, "message": answer.message, "about": answer.about}
    await _send(socket, {"id": request.get("id"), **told})


async def _send(socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
    try:
        await socket.send_str(json.dumps(message))
    except ConnectionError:
        await socket.close()  # the page has disconnected
