"""The thread that writes a recording, behind a bounded queue: its callers never wait for a disk.

Messages and jobs are processed in the order of arrival, so a take contains exactly the messages
before its end.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from vla_policy.data.background import WRITING, give_way
from vla_policy.data.bag.qos import Qos
from vla_policy.data.recording_files import RecordingFiles, Written
from vla_policy.data.streams import Message

T = TypeVar("T")
FLUSH_S = 0.25  # without a message, after which received data is flushed
SOON_S = 0.02  # interval of checking whether an ended episode can be prepared for saving
SHOWN_EVERY = 20  # messages between two updates of the status


class RecordingThread:
    """most_bytes: of waiting messages; further ones are lost and counted."""

    def __init__(self, files: RecordingFiles, *, most_bytes: int) -> None:
        self._files, self._most = files, most_bytes
        self._work: deque[tuple[Message, Sequence[Qos]] | Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._bytes = self._waiting = 0
        self._stopped = False
        self.lost = 0  # since the start
        self.written = Written()  # of the open take, slightly delayed
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of messages not written yet."""
        return self._waiting

    def put(self, message: Message, qos: Sequence[Qos] = ()) -> bool:
        """Add a message; False if it was lost because the queue is full."""
        with self._changed:
            if self._stopped or self._bytes + len(message.data) > self._most:
                self.lost += 1
                return False
            self._bytes += len(message.data)
            self._waiting += 1
            self._work.append((message, qos))
            self._changed.notify()
        return True

    def ask(self, job: Callable[[RecordingFiles], T]) -> Future[T]:
        """Run job after all earlier messages and jobs; its result, or its exception."""
        answer: Future[T] = Future()

        def work() -> None:
            try:
                found = job(self._files)
            except Exception as error:  # noqa: BLE001 - whoever asked is told
                self.written = self._files.written()
                answer.set_exception(error)
            else:
                self.written = self._files.written()
                answer.set_result(found)

        with self._changed:
            if self._stopped:
                raise RuntimeError("the recording is closed")
            self._work.append(work)
            self._changed.notify()
        return answer

    def close(self, timeout_s: float | None = None) -> bool:
        """Write waiting messages, close the files and end; False if that exceeds timeout_s."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        give_way(WRITING)
        try:
            done = 0
            while (work := self._next()) is not None:
                if callable(work):
                    work()
                    continue
                self._files.write(*work)
                done += 1
                if done % SHOWN_EVERY == 0:
                    self.written = self._files.written()
        finally:
            self._files.close()

    def _next(self) -> Any:
        """The next piece of work; None after close() when all is done."""
        while True:
            with self._changed:
                if not self._work and not self._stopped:
                    self._changed.wait(SOON_S if self._files.unready else FLUSH_S)
                if self._work:
                    work = self._work.popleft()
                    if not callable(work):
                        self._bytes -= len(work[0].data)
                        self._waiting -= 1
                    return work
                if self._stopped:
                    return None
            self._files.flush()
            self._files.get_ready()
            self.written = self._files.written()
