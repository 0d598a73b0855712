"""Executes the requests of all pages, each with an answer in bounded time.

A stop, or a stop word, has its own thread, so that it waits neither for another request nor for an
image.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

from vla_policy.runtime.instruction import refuse_instruction, stop_of
from vla_policy.web.panel import Actions, Answer, Ask

STOP_S = 1.0  # for one attempt; a page without a positive answer tries again
ANSWER_S = 3.0
VERBS = ("say", "engage", "disengage", "stop", "reset")
SAFE = ("stop", "disengage")


NOTHING: Mapping[str, Any] = MappingProxyType({})


class Desk:
    """Executes requests of pages."""

    def __init__(self, actions: Actions) -> None:
        self._actions = actions
        self._stops = ThreadPoolExecutor(1, "web-stop")
        self._others = ThreadPoolExecutor(2, "web-ask")

    @property
    def verbs(self) -> tuple[str, ...]:
        """The names of all requests."""
        return (*VERBS, *self._actions.more)

    def may_move(self, verb: str, words: str) -> bool:
        """Whether a request could make the robot move; one that cannot is never too old."""
        if verb in self._actions.more:
            return self._actions.more[verb].moves
        return not (verb in SAFE or (verb == "say" and stop_of(words) is not None))

    def urgent(self, verb: object) -> bool:
        """Whether a request is a stop, which is taken however many others wait."""
        more = self._actions.more
        return verb == "stop" or (isinstance(verb, str) and verb in more and more[verb].urgent)

    def drive(self, details: Mapping[str, Any]) -> str | None:
        """Publish manual motion from a page. Why not, one sentence; None if it is published."""
        drive = self._actions.drive
        return "nobody is driven from this page" if drive is None else drive(details)

    def close(self) -> None:
        """Start no further request."""
        for pool in (self._stops, self._others):
            pool.shutdown(wait=False, cancel_futures=True)

    async def ask(
        self, verb: str, words: str = "", details: Mapping[str, Any] = NOTHING
    ) -> Answer:
        """The answer to one of verbs. words: text of an instruction. details: of any other verb.

        Raises ValueError with a sentence for details that are refused.
        """
        act = self._actions
        if verb in act.more:
            deed = act.more[verb]
            pool = self._stops if deed.urgent else self._others
            return await _answered(pool, deed.limit_s, deed.run, details)
        if verb == "stop":
            return await self._stop()
        if verb in ("engage", "disengage"):
            return await self._bounded(act.engage, verb == "engage")
        if verb == "reset":
            return await self._bounded(act.reset)
        if verb != "say":
            return Answer(False, f"got {verb!r}, expected one of {', '.join(self.verbs)}")
        words = words.strip()
        if stop_of(words) is not None:  # even if the text is otherwise invalid
            return await _answered(self._stops, STOP_S, act.say, words)
        problem = refuse_instruction(words)
        if problem is not None:
            return Answer(False, problem)
        return await self._bounded(act.say, words)

    async def _stop(self) -> Answer:
        return await _answered(self._stops, STOP_S, self._actions.stop)

    async def _bounded(self, action: Ask, *arguments: object) -> Answer:
        return await _answered(self._others, ANSWER_S, action, *arguments)


async def _answered(pool: Executor, limit_s: float, action: Ask, *arguments: object) -> Answer:
    """The answer of action, or that its time is over; then its future is cancelled."""
    given_up = threading.Event()
    try:
        begun = asyncio.wrap_future(pool.submit(_begin, action, arguments, given_up))
        return await asyncio.wait_for(_twice(begun), limit_s)
    except asyncio.TimeoutError:  # before Python 3.11 not the built-in one
        return Answer(False, f"no answer in {limit_s:g} s")
    finally:
        given_up.set()


def _begin(
    action: Ask, arguments: tuple[object, ...], given_up: threading.Event
) -> Future[Answer]:
    """Runs in a thread of the pool: an action whose caller has given up is not started."""
    if given_up.is_set():
        return Future()
    answer = action(*arguments)
    if given_up.is_set():
        answer.cancel()
    return answer


async def _twice(begun: asyncio.Future[Future[Answer]]) -> Answer:
    return await asyncio.wrap_future(await begun)
