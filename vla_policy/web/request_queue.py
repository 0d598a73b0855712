"""Where requests of all pages are carried out, each with an answer in bounded time.

A stop, and a word to stop, has a thread of its own, so that it waits neither for another request nor for a
picture.
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

STOP_S = 1.0  # for one try; a page that hears of no success tries again
ANSWER_S = 3.0
VERBS = ("say", "engage", "disengage", "stop", "reset")
SAFE = ("stop", "disengage")


NOTHING: Mapping[str, Any] = MappingProxyType({})


class Desk:
    """Carries out what pages ask for."""

    def __init__(self, actions: Actions) -> None:
        self._actions = actions
        self._stops = ThreadPoolExecutor(1, "web-stop")
        self._others = ThreadPoolExecutor(2, "web-ask")

    @property
    def verbs(self) -> tuple[str, ...]:
        """All that a page may ask for."""
        return (*VERBS, *self._actions.more)

    def may_move(self, verb: str, words: str) -> bool:
        """Whether a request could make the robot move; what cannot is never too old to be carried out."""
        if verb in self._actions.more:
            return self._actions.more[verb].moves
        return not (verb in SAFE or (verb == "say" and stop_of(words) is not None))

    def drive(self, details: Mapping[str, Any]) -> str | None:
        """A hand at a page. Why it is not passed on, one sentence; None if it is."""
        drive = self._actions.drive
        return "nobody is driven from this page" if drive is None else drive(details)

    def close(self) -> None:
        """Start nothing more."""
        for pool in (self._stops, self._others):
            pool.shutdown(wait=False, cancel_futures=True)

    async def ask(
        self, verb: str, words: str = "", details: Mapping[str, Any] = NOTHING
    ) -> Answer:
        """The answer to one of verbs. words: what to say. details: of what is none of VERBS.

        Raises ValueError with a sentence for details that are refused.
        """
        act = self._actions
        if verb in act.more:
            deed = act.more[verb]
            return await _answered(self._others, deed.limit_s, deed.run, details)
        if verb == "stop":
            return await self._stop()
        if verb in ("engage", "disengage"):
            return await self._bounded(act.engage, verb == "engage")
        if verb == "reset":
            return await self._bounded(act.reset)
        if verb != "say":
            return Answer(False, f"got {verb!r}, expected one of {', '.join(self.verbs)}")
        words = words.strip()
        if stop_of(words) is not None:  # whatever else is wrong with it
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
    """What action answers, or that it did not in time; then its future is cancelled."""
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
    """Runs in a thread of the pool: an action that is not begun yet when nobody waits is not begun."""
    if given_up.is_set():
        return Future()
    answer = action(*arguments)
    if given_up.is_set():
        answer.cancel()
    return answer


async def _twice(begun: asyncio.Future[Future[Answer]]) -> Answer:
    return await asyncio.wrap_future(await begun)
