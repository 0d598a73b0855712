"""The thread that runs inference on the newest observation; schedule.py decides when.

No ROS here; the node's clock and the receiver of chunks are passed in. There is no queue: inputs
replace each other, and the thread takes the newest when it is free.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from vla_policy.execution.replanning import NOTHING, Continuation, truncated
from vla_policy.execution.resampling import aligned
from vla_policy.runtime import looking, schedule
from vla_policy.runtime.looking import Looking
from vla_policy.runtime.observation import SensorBuffer, StateSource, synchronize
from vla_policy.runtime.policy_protocol import PolicyProtocol, Unavailable
from vla_policy.runtime.schedule import InferenceConfig, InferenceState
from vla_policy.types import QUESTION, ActionChunk, Array, Observation, Reason

MAX_FAILURES = 3  # exceptions of the model in a row
IDLE_S = 0.1  # interval of checking reasons while no input arrives
LATENCIES = 100
NO_ANSWER = ("unavailable", "failed")  # codes: no connection to the policy; the model raised
LOOKED = Reason("looking", "what the instruction names is looked for once more")

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class InferenceStatus:
    """reason: why no chunk is computed now; None while chunks are computed.

    latency_s: float64[3], p50, p99 and max of the last chunks; None before the first.
    delay_s: expected from an observation until its chunk is accepted; None before a measurement.
    continued: chunks that continue the plan in execution.
    age_s: topic -> age of its newest sample; None without a sample.
    adapter: of the next chunk; empty: none.
    """

    reason: Reason | None
    chunks: int
    failures: int
    stopped: bool
    latency_s: Array | None
    delay_s: float | None
    continued: int
    age_s: Mapping[str, float | None]
    adapter: str = ""


class Inference:
    """Streams and instruction in, chunks out, in a thread of its own.

    now_ns: the node's clock. on_chunk: called with each chunk in the thread. on_error: called with
    the traceback if the model raises; after MAX_FAILURES in a row the thread stops inferring.
    Before any chunk is made of an instruction it must be understood, and the checks of looking.py agree that all objects that it
    names are present; else on_refusal is called, and refusal holds the reason for as long as it is active. Once it is followed
    it is not looked for again. A question, as the policy tells by its reason, is answered in words by way of on_refusal, and no chunk is
    made of it. on_place: called with xyz, float64[3], m in the base frame, and the stamp of the observation, where
    the configuration says point.
    """

    def __init__(
        self,
        policy: PolicyProtocol,
        cameras: Mapping[str, SensorBuffer[Array]],
        states: tuple[StateSource, ...],
        config: InferenceConfig,
        *,
        now_ns: Callable[[], int],
        on_chunk: Callable[[ActionChunk], None],
        on_error: Callable[[str], None],
        on_refusal: Callable[[str, Reason], None] = lambda instruction, why: None,
        on_place: Callable[[Array, int], None] = lambda xyz, obs_ns: None,
        adapter: str = "",
    ) -> None:
        self._policy, self._config, self._adapter = policy, config, adapter
        self._cameras, self._states = dict(cameras), states
        self._streams = (*cameras.values(), *(source.stream for source in states))
        self._now_ns, self._on_chunk, self._on_error = now_ns, on_chunk, on_error
        self._on_refusal, self._on_place = on_refusal, on_place
        self._lock = threading.Condition()  # of all that follows
        self._model = threading.Lock()  # one inference at a time
        self._instruction = ""
        self._refusal: Reason | None = None
        self._looking: Looking | None = None  # before the instruction is followed
        self._question = False  # the instruction is a question that is not answered yet
        self._news = self._active = self._closed = False
        self._asked = InferenceState()
        self._reason: Reason | None = Reason("inactive", "the policy node is not active")
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES)
        self._chunks = self._failures = self._in_a_row = self._continued = 0
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def add(self, stream: SensorBuffer[Array], stamp_ns: int, value: Array) -> None:
        """A new sample of one of the streams passed to the constructor."""
        with self._lock:
            before_ns = self._complete_ns()
            # The last sample of an instant, image or state, completes an observation.
            if stream.add(stamp_ns, value) and self._complete_ns() != before_ns:
                self._news = True
                self._lock.notify_all()

    def set_instruction(self, instruction: str) -> None:
        """The instruction from now on; empty: stop inferring."""
        refusal = self._understands(instruction) if instruction else None
        question = refusal is not None and refusal.code == QUESTION and self._policy.can_answer
        refusal = None if refusal is None or question else _refused(refusal)
        with self._lock:
            self._instruction, self._news = instruction, True
            self._refusal, self._question = refusal, question
            self._looking = Looking() if self._config.look_first else None
            self._lock.notify_all()
        if refusal is not None:
            self._on_refusal(instruction, refusal)

    def exchange(self, policy: PolicyProtocol, adapter: str) -> int:
        """Use the policy with another adapter from the next chunk on; returns ns without chunks.

        Waits for the inference in progress, whose chunk still belongs to the previous adapter. The
        active instruction continues if the new adapter understands it and is refused if not.
        """
        with self._model:
            began_ns = time.perf_counter_ns()
            with self._lock:
                self._policy, self._adapter = policy, adapter
                instruction = self._instruction
            took_ns = time.perf_counter_ns() - began_ns
        refusal = policy.understands(instruction) if instruction else None
        refusal = None if refusal is None else _refused(refusal)
        with self._lock:
            if instruction != self._instruction or policy is not self._policy:
                return took_ns
            self._refusal = refusal or self._refusal
            self._question = self._question and refusal is None
            self._news = True
            self._lock.notify_all()
        if refusal is not None:
            self._on_refusal(instruction, refusal)
        return took_ns

    def refusal(self) -> tuple[str, Reason] | None:
        """The active instruction and why it is not followed; None if it is, or not yet known."""
        with self._lock:
            return None if self._refusal is None else (self._instruction, self._refusal)

    def set_config(self, config: InferenceConfig) -> None:
        """Other options from the next inference on."""
        with self._lock:
            self._config = config

    def set_active(self, active: bool) -> None:
        """Infer or not; becoming active forgets failures and the previous chunk."""
        with self._lock:
            self._active, self._in_a_row, self._news = active, 0, True
            self._asked = schedule.reset(self._asked)
            self._lock.notify_all()

    def taken(self, sequence: int, begin_ns: int, taken_ns: int) -> None:
        """Control executes the chunk of sequence since taken_ns; its row 0 is due at begin_ns."""
        with self._lock:
            self._asked, news = schedule.on_accepted(self._asked, sequence, begin_ns, taken_ns)
            if news:
                self._news = True
                self._lock.notify_all()

    def not_executing(self) -> None:
        """Control has no plan."""
        with self._lock:
            self._asked = schedule.not_executing(self._asked)

    def look_again(self, after_ns: int) -> None:
        """The policy is in control again: infer from the first observation after after_ns."""
        with self._lock:
            self._asked = schedule.look_again(self._asked, self._config, after_ns)

    def close(self) -> None:
        """End the thread after the inference in progress."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        self._thread.join(timeout=10.0)

    def status(self) -> InferenceStatus:
        """The current status, for diagnostics."""
        now_ns = self._now_ns()
        with self._lock:
            newest = {stream.topic: stream.newest_ns for stream in self._streams}
            latencies = np.array(self._latencies_s)
            return InferenceStatus(
                reason=self._reason,
                chunks=self._chunks,
                failures=self._failures,
                stopped=self._in_a_row >= MAX_FAILURES,
                latency_s=np.percentile(latencies, (50, 99, 100)) if len(latencies) else None,
                delay_s=None if (ns := self._asked.delays.expected_ns) is None else ns / 1e9,
                continued=self._continued,
                age_s={t: None if ns is None else (now_ns - ns) / 1e9 for t, ns in newest.items()},
                adapter=self._adapter,
            )

    def look(
        self, instruction: str, after_ns: int = 0
    ) -> tuple[PolicyProtocol, Observation] | Reason:
        """The policy and its newest observation, for a planner; no chunk comes of it.

        after_ns: an older observation does not count. Reason codes: those of observation.synchronize, inactive, looking.
        """
        with self._lock:
            if not self._active:
                return Reason("inactive", "the policy node is not active")
            observation = self._observe(instruction)
            if isinstance(observation, Reason):
                return observation
            if observation.obs_ns < after_ns:
                return Reason("looking", "the next image is waited for")
            return self._policy, observation

    def request(self, instruction: str, asked: Continuation = NOTHING) -> ActionChunk | Reason:
        """One chunk from the newest observation, now; instruction empty: the active one.

        asked.previous: a plan in execution, its obs_ns when its row 0 was due; frozen and guidance
        rows are counted from the new observation on.
        Reason codes: those of observation.synchronize, no_instruction, refused, unavailable,
        failed.
        """
        with self._lock:
            observation = self._observe(instruction or self._instruction)
        if isinstance(observation, Reason):
            return observation
        problem = self._answered(lambda: self._policy.understands(observation.instruction))
        if problem is None and self._config.look_first:
            problem = self._answered(lambda: self._policy.sees(observation))
        if problem is not None:
            return problem if problem.code in NO_ANSWER else _refused(problem, "refused")
        if not (asked.frozen_rows or asked.guidance_rows):
            return self._infer(observation, NOTHING)
        if asked.previous is None:
            return Reason("refused", "frozen_rows and guidance_rows need a previous chunk")
        if self._config.layout is None or not self._policy.continues:
            return Reason(
                "refused",
                "this policy cannot continue a chunk: frozen_rows and guidance_rows must be 0",
            )
        left = aligned(asked.previous, observation.obs_ns, self._config.layout)
        if left is None:
            return Reason("refused", "previous: nothing of it is left at the new observation")
        return self._infer(observation, replace(asked, previous=left))

    def _answered(self, ask: Callable[[], Answer]) -> Answer | Reason:
        """What the policy answers, or why it does not; codes refused, with its own sentence, and those of NO_ANSWER."""
        try:
            return ask()
        except ValueError as error:
            return Reason("refused", str(error))
        except Unavailable as error:
            return Reason("unavailable", str(error))
        except Exception:  # noqa: BLE001 - any exception of a model is reported with its traceback
            self._on_error(traceback.format_exc())
            return Reason("failed", "the model raised, see the log")

    def _understands(self, instruction: str) -> Reason | None:
        """The policy's answer; if it raises ValueError, its sentence becomes the reason."""
        try:
            return self._policy.understands(instruction)
        except ValueError as error:
            return Reason("refused", str(error))

    def _complete_ns(self) -> int | None:
        """The newest instant that all streams have reached; None if one is empty."""
        newest = [s.newest_ns for s in self._streams if s.newest_ns is not None]
        return min(newest) if len(newest) == len(self._streams) else None

    def _run(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._news or self._closed, timeout=IDLE_S)
                if self._closed:
                    return
                self._news = False
                observation = self._next()
                if isinstance(observation, Reason):
                    self._reason = observation
                    continue
                if observation is None:
                    continue
                question = self._question
                looks = self._looking is not None
                change = schedule.change(self._asked, self._config, observation)
                ask = self._continuation(observation)
                if not looks and not question:
                    self._asked = schedule.on_requested(self._asked, observation)
            if question:
                self._answer(observation)
                continue
            if looks and not self._look(observation):
                continue
            if looks:
                with self._lock:
                    self._asked = schedule.on_requested(self._asked, observation)
            outcome = self._infer(observation, ask)
            self._deliver(outcome, change)
            if self._config.point and not isinstance(outcome, Reason):
                self._point(observation)

    def _next(self) -> Observation | Reason | None:
        """The observation to infer, why not, or None while the last chunk is still valid."""
        if self._in_a_row >= MAX_FAILURES:
            return Reason("failed", f"the model raised {MAX_FAILURES} times in a row")
        if not self._active:
            return Reason("inactive", "the policy node is not active")
        if self._refusal is not None:
            return self._refusal
        observation = self._observe(self._instruction)
        if isinstance(observation, Reason):
            return observation
        if self._question:
            return observation
        if self._looking is not None and not looking.is_new(self._looking, observation.obs_ns):
            return None  # another check needs another image
        due = schedule.should_infer(self._asked, self._config, observation, self._now_ns())
        return observation if due else None

    def _answer(self, observation: Observation) -> None:
        """Answer the instruction, a question, in words; it ends like one that is refused, so nothing moves."""
        words = self._answered(lambda: self._policy.ask(observation, observation.instruction))
        told = Reason(QUESTION, words) if isinstance(words, str) else words
        with self._lock:
            if told.code == "unavailable":  # the next observation is tried
                self._reason = told
                return
            if observation.instruction != self._instruction or not self._question:
                return
            self._question, self._refusal = False, told
            self._reason = told
        self._on_refusal(observation.instruction, told)

    def _look(self, observation: Observation) -> bool:
        """Whether the instruction is followed from observation on; if not, it may be refused."""
        missing = self._answered(lambda: self._policy.sees(observation))
        with self._lock:
            if missing is not None and missing.code == "unavailable":  # the next one is tried
                self._reason = missing
                return False
            if observation.instruction != self._instruction or self._looking is None:
                return False
            self._looking = now = looking.looked(self._looking, missing, observation.obs_ns)
            if now.followed:
                self._looking = None
                return True
            self._reason = now.missing or LOOKED
            if now.refusal is None:
                return False
            self._refusal = refusal = _refused(now.refusal)
        self._on_refusal(observation.instruction, refusal)
        return False

    def _point(self, observation: Observation) -> None:
        """For people who look on; no chunk depends on it, so what is wrong with it ends nothing."""
        with self._model:
            policy = self._policy
            if not policy.can_point:
                return
            try:
                xyz = policy.point(observation).get("target_xyz")
                if xyz is not None:
                    self._on_place(xyz, observation.obs_ns)
            except Unavailable:
                return  # the next chunk tells it
            except Exception:  # noqa: BLE001 - whatever a model raises is told with its traceback
                self._on_error(traceback.format_exc())

    def _continuation(self, observation: Observation) -> Continuation:
        return schedule.continuation(
            self._asked,
            self._config,
            observation,
            rows=self._policy.rows,
            continues=self._policy.continues,
        )

    def _observe(self, instruction: str) -> Observation | Reason:
        if not instruction:
            return Reason("no_instruction", "no instruction is active")
        return synchronize(
            self._now_ns(),
            self._cameras,
            self._states,
            state_names=self._config.state_names,
            instruction=instruction,
            max_skew_ns=self._config.max_skew_ns,
        )

    def _infer(self, observation: Observation, asked: Continuation) -> ActionChunk | Reason:
        with self._model:
            started_s = time.perf_counter()
            sequence, config, adapter = self._chunks, self._config, self._adapter

            def infer() -> ActionChunk:
                options = replace(
                    config.options,
                    seed=config.seed + sequence * config.options.candidates,
                    frozen_rows=asked.frozen_rows,
                    guidance_rows=asked.guidance_rows,
                )
                return self._policy.infer_chunk(observation, asked.previous, options)

            chunk = self._answered(infer)
            if isinstance(chunk, Reason):
                if chunk.code not in NO_ANSWER:
                    return _refused(chunk)
                with self._lock:
                    if chunk.code == "failed":
                        self._failures += 1
                        self._in_a_row += 1
                    else:
                        # The plan becomes stale and the robot holds; the next observation is tried.
                        self._asked = schedule.on_unanswered(self._asked)
                return chunk
            took_s = time.perf_counter() - started_s
            with self._lock:
                self._latencies_s.append(took_s)
                self._chunks, self._in_a_row = sequence + 1, 0
            return replace(chunk, sequence=sequence, infer_ns=round(took_s * 1e9), adapter=adapter)

    def _deliver(self, outcome: ActionChunk | Reason, change: str) -> None:
        config = self._config
        with self._lock:
            if isinstance(outcome, Reason):
                self._reason = outcome
                return
            if not self._active or outcome.instruction != self._instruction:
                return  # replaced by a new instruction while the model was busy
            chunk = truncated(outcome, config.scheme, config.execute_rows)
            chunk = replace(chunk, instruction_change=change)
            self._reason = None
            self._asked = schedule.on_published(self._asked, chunk, self._now_ns())
            self._continued += chunk.continues is not None
        try:
            self._on_chunk(chunk)
        except Exception:  # noqa: BLE001 - outermost of the thread; the thread must live on
            self._on_error(traceback.format_exc())


def _refused(why: Reason, code: str = "") -> Reason:
    return Reason(code or why.code, f"the policy refuses: {why.detail}")
