"""Requests of several robots, one after another or several at once, in one worker thread or a few.

The event loop never computes: it hands jobs to a thread and goes on answering everybody else. A request that
would be late is refused before it waits, and one that became late is not computed.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

from vla_policy.remote.turns import Job, Turns
from vla_policy.types import Reason

MAX_WAITING = 128  # requests in total
MAX_OF_CLIENT = 2
SMOOTHING = 0.3  # weight of the newest duration in the expected one

# Answers jobs of one kind, one outcome each, in a worker thread.
Answer = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass(slots=True)
class Load:
    """What is known of the work: seconds that a batch takes, and when those that are computed now began."""

    batch_s: float = 0.0
    began_s: list[float] = field(default_factory=list)
    batches: int = 0
    jobs: int = 0


@dataclass(slots=True)
class Batcher:
    """Waiting requests and the threads that have them answered. Used from one event loop.

    answer: computes a batch. most: jobs of an equal kind that it takes at once. lanes: batches that are computed beside
    each other; more than one only where answer computes elsewhere.
    """

    answer: Answer
    most: int = 1
    lanes: int = 1
    load: Load = field(default_factory=Load)
    _turns: Turns = field(default_factory=Turns)
    _futures: dict[Job, asyncio.Future[Any]] = field(default_factory=dict)
    _threads: ThreadPoolExecutor = field(init=False)
    _runners: set[asyncio.Task[None]] = field(default_factory=set)
    _closed: bool = False

    def __post_init__(self) -> None:
        self._threads = ThreadPoolExecutor(self.lanes, thread_name_prefix="inference")

    @property
    def waiting(self) -> int:
        """Number of waiting requests."""
        return len(self._turns)

    def expected_s(self, now_s: float, client: Hashable) -> float:
        """Expected time until a new request of client is answered, from recent durations."""
        load = self.load
        if not load.began_s and not len(self._turns):
            return 0.0  # tried, however long it took the last time: else one slow answer would be the last
        ahead = (
            math.ceil((self._turns.before(client) + 1) / (self.most * self.lanes)) * load.batch_s
        )
        if len(load.began_s) < self.lanes:
            return ahead
        return ahead + max(0.0, load.batch_s - (now_s - min(load.began_s)))

    async def submit(
        self, client: Hashable, work: Any, *, deadline_s: float, kind: Hashable = None
    ) -> Any:
        """The result of work, or a Reason: busy (would be late), late (became late), closing.

        deadline_s: on time.monotonic.
        """
        now_s = time.monotonic()
        if self._closed:
            return Reason("closing", "the server ends")
        if len(self._turns) >= MAX_WAITING or self._turns.of(client) >= MAX_OF_CLIENT:
            return Reason("busy", f"{len(self._turns)} requests wait already")
        expected_s = self.expected_s(now_s, client)
        if now_s + expected_s > deadline_s:
            return Reason(
                "busy",
                f"an answer takes {expected_s:.2f} s with {len(self._turns)} requests waiting, "
                f"{max(0.0, deadline_s - now_s):.2f} s were allowed",
            )
        job = Job(client, work, deadline_s, kind)
        self._futures[job] = future = asyncio.get_running_loop().create_future()
        self._turns.put(job)
        if len(self._runners) < self.lanes:
            self._runners.add(asyncio.create_task(self._run()))
        try:
            return await future
        finally:
            self._futures.pop(job, None)

    async def close(self) -> None:
        """Answer what runs, refuse what waits, end the threads."""
        self._closed = True
        for job in self._turns.late(math.inf):
            self._settle(job, Reason("closing", "the server ends"))
        await asyncio.gather(*self._runners)
        self._threads.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while len(self._turns):
                now_s = time.monotonic()
                for job in self._turns.late(now_s):
                    self._settle(job, Reason("late", "its deadline passed while it waited"))
                # A client that went away has cancelled its own.
                batch = [job for job in self._turns.next(self._share()) if job in self._futures]
                if not batch:
                    continue
                self.load.began_s.append(now_s)
                works = [job.work for job in batch]
                outcomes: Sequence[Any]
                try:
                    outcomes = await loop.run_in_executor(self._threads, self.answer, works)
                except Exception as error:  # noqa: BLE001 - no request may wait for ever
                    outcomes = [Reason("failed", type(error).__name__)] * len(works)
                self._count(now_s, len(batch))
                for job, outcome in zip(batch, outcomes, strict=True):
                    self._settle(job, outcome)
        finally:
            self._runners.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    def _share(self) -> int:
        """Jobs of the next batch, at most. Of several lanes none takes all: the first that is free goes on with others.

        Else the same robots would come together again and again, and those of a small batch or a fast lane more often.
        """
        if self.lanes == 1:
            return self.most
        return max(1, min(self.most, math.ceil(len(self._futures) / (self.lanes + 1))))

    def _count(self, began_s: float, jobs: int) -> None:
        load = self.load
        share = SMOOTHING if load.batches else 1.0
        load.batch_s += share * (time.monotonic() - began_s - load.batch_s)
        load.began_s.remove(began_s)
        load.batches, load.jobs = load.batches + 1, load.jobs + jobs

    def _settle(self, job: Job, outcome: Any) -> None:
        future = self._futures.get(job)
        if future is not None and not future.done():
            future.set_result(outcome)
