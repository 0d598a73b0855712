"""Processor time of a server for those who have shown no reason to be served.

New connections, refusals and wrong messages are paid from one budget, a share of one processor. Once it is spent they wait,
one behind the other; a connection whose last message was right does not. Addresses play no part: a robot may share one
with whoever disturbs it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

SHARE = 0.15  # of one processor
MOST_S = 0.1  # of work after a quiet time: a fleet that connects at once does not wait


@dataclass(slots=True)
class Budget:
    """Used from one event loop. share: seconds of work per second. most_s: that are kept at most."""

    share: float = SHARE
    most_s: float = MOST_S
    clock: Callable[[], float] = time.monotonic
    _left_s: float = field(init=False)
    _at_s: float = field(init=False)
    _line: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._left_s, self._at_s = self.most_s, self.clock()

    def spend(self, seconds: float) -> None:
        """Work that was done, or is about to be."""
        self._left_s = self.left_s() - seconds

    def give_back(self, seconds: float) -> None:
        """Of work that turned out to be for a robot."""
        self._left_s = min(self.most_s, self.left_s() + seconds)

    def wait_s(self) -> float:
        """Until there is some left; 0 if there is."""
        return max(0.0, -self.left_s() / self.share)

    async def turn(self) -> None:
        """Wait until there is some left, and all who waited before have had theirs."""
        async with self._line:
            while (wait_s := self.wait_s()) > 0.0:
                await asyncio.sleep(wait_s)

    def left_s(self) -> float:
        """Seconds of work that are left; below 0: owed."""
        now_s = self.clock()
        earned_s = self.share * (now_s - self._at_s)
        self._left_s, self._at_s = min(self.most_s, self._left_s + earned_s), now_s
        return self._left_s
