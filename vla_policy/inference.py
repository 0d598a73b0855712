"""When to infer and with what: the thread that keeps a policy busy with the newest observation.

No ROS in here; the node's clock and what to do with a chunk are passed in. There is no queue:
inputs replace each other, and the thread takes the newest when it is free.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from vla_policy.observe import StateSource, Stream, assemble
from vla_policy.types import ActionChunk, Array, Observation, Reason

MAX_FAILURES = 3  # exceptions of the model in a row
IDLE_S = 0.1  # how often reasons are looked at when nothing comes in
LATENCIES = 100


class Infers(Protocol):
    """The one thing asked of a policy."""

    def infer(
        self,
        observation: Observation,
        previous: ActionChunk | None = None,
        *,
        seed: int | None = None,
        num_steps: int | None = None,
    ) -> ActionChunk: ...


@dataclass(frozen=True, slots=True)
class InferenceConfig:
    """execute_ns: node time between the observations of two chunks.

    seed: of the first chunk; each later one adds one.
    num_steps: Euler steps; None: the policy's own.
    """

    state_names: tuple[str, ...]
    max_skew_ns: int
    execute_ns: int
    seed: int
    num_steps: int | None = None


@dataclass(frozen=True, slots=True)
class InferenceStatus:
    """reason: why no chunk is made now; None while they are made.

    latency_s: float64[3], p50, p99 and max of the last chunks; None before the first.
    age_s: topic -> age of its newest sample; None if there was none.
    """

    reason: Reason | None
    chunks: int
    failures: int
    stopped: bool
    latency_s: Array | None
    age_s: Mapping[str, float | None]


class Inference:
    """Streams and instruction in, chunks out, in a thread of its own.

    now_ns: the node's clock. on_chunk: called with each chunk in the thread. on_error: called with
    the traceback if the model raises; after MAX_FAILURES in a row the thread stops inferring.
    """

    def __init__(
        self,
        policy: Infers,
        cameras: Mapping[str, Stream[Array]],
        states: tuple[StateSource, ...],
        config: InferenceConfig,
        *,
        now_ns: Callable[[], int],
        on_chunk: Callable[[ActionChunk], None],
        on_error: Callable[[str], None],
    ) -> None:
        self._policy, self._config = policy, config
        self._cameras, self._states = dict(cameras), states
        self._now_ns, self._on_chunk, self._on_error = now_ns, on_chunk, on_error
        self._lock = threading.Condition()  # of all that follows
        self._model = threading.Lock()  # one inference at a time
        self._instruction = ""
        self._news = self._active = self._closed = False
        self._last: ActionChunk | None = None
        self._attempt: tuple[str, int] | None = None  # instruction and obs_ns last inferred with
        self._reason: Reason | None = Reason("inactive", "the policy node is not active")
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES)
        self._chunks = self._failures = self._in_a_row = 0
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def add(self, stream: Stream[Array], stamp_ns: int, value: Array) -> None:
        """A new sample of one of the streams given at the start."""
        with self._lock:
            # Images set the pace: they are the slow ones, and only they show something new.
            if stream.add(stamp_ns, value) and value.ndim == 3:
                self._news = True
                self._lock.notify_all()

    def set_instruction(self, instruction: str) -> None:
        """What to do from now on; empty: stop inferring."""
        with self._lock:
            self._instruction, self._news = instruction, True
            self._lock.notify_all()

    def set_active(self, active: bool) -> None:
        """Infer or not; becoming active forgets failures and the previous chunk."""
        with self._lock:
            self._active, self._in_a_row, self._news = active, 0, True
            self._last = self._attempt = None
            self._lock.notify_all()

    def close(self) -> None:
        """End the thread after the inference in progress."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        self._thread.join(timeout=10.0)

    def status(self) -> InferenceStatus:
        """What is going on, for diagnostics."""
        now_ns = self._now_ns()
        with self._lock:
            streams = [*self._cameras.values(), *(source.stream for source in self._states)]
            newest = {stream.topic: stream.newest_ns for stream in streams}
            latencies = np.array(self._latencies_s)
            return InferenceStatus(
                reason=self._reason,
                chunks=self._chunks,
                failures=self._failures,
                stopped=self._in_a_row >= MAX_FAILURES,
                latency_s=np.percentile(latencies, (50, 99, 100)) if len(latencies) else None,
                age_s={t: None if ns is None else (now_ns - ns) / 1e9 for t, ns in newest.items()},
            )

    def request(
        self, instruction: str, previous: ActionChunk | None = None
    ) -> ActionChunk | Reason:
        """One chunk from the newest observation, now; instruction empty: the active one.

        Reason codes: those of observe.assemble, no_instruction, refused, failed.
        """
        with self._lock:
            observation = self._observe(instruction or self._instruction)
        return (
            observation if isinstance(observation, Reason) else self._infer(observation, previous)
        )

    def _run(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._news or self._closed, timeout=IDLE_S)
                if self._closed:
                    return
                self._news = False
                observation = self._next()
                previous = self._last
                if isinstance(observation, Reason):
                    self._reason = observation
                    continue
                if observation is None:
                    continue
                self._attempt = (observation.instruction, observation.obs_ns)
            self._deliver(self._infer(observation, previous))

    def _next(self) -> Observation | Reason | None:
        """What to infer with now, why not, or None as the last chunk still serves."""
        if self._in_a_row >= MAX_FAILURES:
            return Reason("failed", f"the model raised {MAX_FAILURES} times in a row")
        if not self._active:
            return Reason("inactive", "the policy node is not active")
        observation = self._observe(self._instruction)
        if isinstance(observation, Reason) or self._attempt is None:
            return observation
        instruction, obs_ns = self._attempt
        since_ns = observation.obs_ns - obs_ns
        if instruction == observation.instruction and 0 <= since_ns < self._config.execute_ns:
            return None
        return observation

    def _observe(self, instruction: str) -> Observation | Reason:
        if not instruction:
            return Reason("no_instruction", "no instruction is active")
        return assemble(
            self._now_ns(),
            self._cameras,
            self._states,
            state_names=self._config.state_names,
            instruction=instruction,
            max_skew_ns=self._config.max_skew_ns,
        )

    def _infer(
        self, observation: Observation, previous: ActionChunk | None
    ) -> ActionChunk | Reason:
        with self._model:
            started_s = time.perf_counter()
            sequence, config = self._chunks, self._config
            try:
                chunk = self._policy.infer(
                    observation, previous, seed=config.seed + sequence, num_steps=config.num_steps
                )
            except ValueError as error:  # the policy's own sentence: the instruction does not fit
                return Reason("refused", f"the policy refuses: {error}")
            except Exception:  # noqa: BLE001 - whatever a model raises is told with its traceback
                self._failures += 1
                self._in_a_row += 1
                self._on_error(traceback.format_exc())
                return Reason("failed", "the model raised, see the log")
            took_s = time.perf_counter() - started_s
            with self._lock:
                self._latencies_s.append(took_s)
                self._chunks, self._in_a_row = sequence + 1, 0
            return replace(chunk, sequence=sequence, infer_ns=round(took_s * 1e9))

    def _deliver(self, outcome: ActionChunk | Reason) -> None:
        with self._lock:
            if isinstance(outcome, Reason):
                self._reason = outcome
                return
            if not self._active or outcome.instruction != self._instruction:
                return  # overtaken by a new instruction while the model was busy
            self._last, self._reason = outcome, None
        try:
            self._on_chunk(outcome)
        except Exception:  # noqa: BLE001 - outermost of the thread; the thread must live on
            self._on_error(traceback.format_exc())
