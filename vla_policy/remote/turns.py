"""Order of requests: turns of the robots, and batches. Values only, no clock.

Each robot has its own queue, and a number for its next turn; the least number is next, among equal ones the robot that has
waited longest. A turn of its own raises a robot's number by one. So a robot that was overtaken, as happens where batches are
computed beside each other and one of them takes longer, is served before those that overtook it. What it can
catch up on is little: one that asks rarely is next when it asks, and does not take several turns for those that it
left out. A batch begins with the next robot's oldest request and takes, from the robots after it, those that
can be computed together with it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

BEHIND = 1  # turns that a robot may be behind the newest turn given
KNOWN = 1024  # robots whose number is kept while they ask nothing; more than are ever connected


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One request. client: its sender. kind: jobs of the same kind can share a batch; None: alone.

    deadline_s: after it the answer is useless; on the caller's clock.
    """

    client: Hashable
    work: Any
    deadline_s: float
    kind: Hashable = None


@dataclass(slots=True)
class Turns:
    """Waiting jobs by client, in the order in which they have waited. Single-threaded."""

    waiting: OrderedDict[Hashable, deque[Job]] = field(default_factory=OrderedDict)
    _newest: int = 0  # number of the newest turn given
    _turns: OrderedDict[Hashable, int] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self.waiting.values())

    def of(self, client: Hashable) -> int:
        """Number of waiting jobs of one client."""
        return len(self.waiting.get(client, ()))

    def put(self, job: Job) -> None:
        """Queue job after the others of its client."""
        self._turns[job.client] = self._turn_of(job.client)
        self.waiting.setdefault(job.client, deque()).append(job)

    def before(self, client: Hashable) -> int:
        """Number of waiting jobs that are served before one that client puts now."""
        own = self._turn_of(client) + self.of(client)
        return sum(
            max(0, min(len(jobs), own - self._turns[other] + 1))
            for other, jobs in self.waiting.items()
        )

    def _turn_of(self, client: Hashable) -> int:
        if client in self.waiting:
            return self._turns[client]
        # One that nobody knows is last: who comes anew for each request must not be before those who stay.
        return max(self._turns.get(client, self._newest + 1), self._newest - BEHIND)

    def late(self, now_s: float) -> list[Job]:
        """Remove and return the jobs whose deadline has passed."""
        found = [job for jobs in self.waiting.values() for job in jobs if job.deadline_s <= now_s]
        for job in found:
            self._take(job)
        return found

    def next(self, most: int) -> list[Job]:
        """Remove and return the jobs of the next batch, at most `most`; empty without any."""
        if not self.waiting:
            return []
        order = sorted(self.waiting, key=self._turns.__getitem__)
        first, *others = (self.waiting[client][0] for client in order)
        batch = [first]
        if first.kind is not None:
            batch += [job for job in others if job.kind == first.kind][: most - 1]
        for job in batch:
            self._take(job)
            self._newest = max(self._newest, self._turns[job.client])
            self._turns[job.client] += 1
            self._turns.move_to_end(job.client)
            if job.client in self.waiting:
                self.waiting.move_to_end(job.client)
        self._forget()
        return batch

    def _take(self, job: Job) -> None:
        jobs = self.waiting[job.client]
        jobs.remove(job)
        if not jobs:
            del self.waiting[job.client]

    def _forget(self) -> None:
        """The robots that have had no turn for longest, beyond KNOWN."""
        if len(self._turns) <= KNOWN:
            return
        gone = [client for client in self._turns if client not in self.waiting]
        for client in gone[: len(self._turns) - KNOWN]:
            del self._turns[client]
