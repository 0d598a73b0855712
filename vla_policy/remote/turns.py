"""Order of requests: round robin over the robots, and batches. Values only, no clock.

Each robot has its own queue. A batch begins with the oldest request of the robot whose turn it is
and takes, from the robots after it, those that can be computed together with it. A robot that was
served goes to the end.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any


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
    """Waiting jobs by client, in the order of their turns. Single-threaded."""

    waiting: OrderedDict[Hashable, deque[Job]] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self.waiting.values())

    def of(self, client: Hashable) -> int:
        """Number of waiting jobs of one client."""
        return len(self.waiting.get(client, ()))

    def put(self, job: Job) -> None:
        """Queue job after the others of its client."""
        self.waiting.setdefault(job.client, deque()).append(job)

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
        first = next(iter(self.waiting.values()))[0]
        batch = [first]
        if first.kind is not None:
            others = [jobs[0] for jobs in self.waiting.values() if jobs[0] is not first]
            batch += [job for job in others if job.kind == first.kind][: most - 1]
        for job in batch:
            self._take(job)
            if job.client in self.waiting:
                self.waiting.move_to_end(job.client)
        return batch

    def _take(self, job: Job) -> None:
        jobs = self.waiting[job.client]
        jobs.remove(job)
        if not jobs:
            del self.waiting[job.client]
