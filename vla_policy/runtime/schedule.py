"""Whether to infer now, and what to continue: decisions on values, without a clock or a thread.

InferenceState holds what is known of the chunks so far. Each function takes it and returns another
one, or an answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vla_policy.embodiment.layout import Layout
from vla_policy.execution.replanning import (
    NOTHING,
    Continuation,
    Delays,
    Executing,
    measured,
    next_observation_ns,
    plan_continuation,
    plan_to_compare,
)
from vla_policy.execution.schemes import SCHEMES
from vla_policy.models.sampling import DEFAULT_OPTIONS, InferenceOptions
from vla_policy.types import ActionChunk, Observation

SENT = 4  # chunks that control may still report on
HEARD_NS = 100_000_000  # time allowed for the control node to acknowledge a chunk


@dataclass(frozen=True, slots=True)
class InferenceConfig:
    """execute_rows: rows, step_ns apart, between the observations of two chunks.

    seed: of the first chunk; each later one adds as many as there are candidates.
    scheme: one of execution.schemes.SCHEMES.
    options: of every chunk; seed and rows of the plan are those of the chunk.
    layout: of the rows; None where they are not what is executed, so that they cannot be continued.
    change: what becomes of the plan when the instruction changes, one of types.CHANGES.
    look_first: an instruction that names what the policy does not see is refused, see looking.py.
    point: after each chunk the policy says where it sees what the instruction names, if it can.
    """

    state_names: tuple[str, ...]
    max_skew_ns: int
    execute_rows: int
    step_ns: int
    seed: int
    scheme: str = "receding"
    options: InferenceOptions = DEFAULT_OPTIONS
    layout: Layout | None = None
    change: str = "flush"
    look_first: bool = False
    point: bool = False


@dataclass(frozen=True, slots=True)
class InferenceState:
    """attempt: instruction and obs_ns of the last inference, whatever its result.

    sent: the published chunks, newest last; sent_ns: when the newest was published.
    executing: the chunk that control reports to follow; None: none, or not one of ours.
    delays: from observations until their chunks were accepted.
    """

    attempt: tuple[str, int] | None = None
    sent: tuple[ActionChunk, ...] = ()
    sent_ns: int = 0
    executing: Executing | None = None
    delays: Delays = field(default_factory=Delays)

    @property
    def last(self) -> ActionChunk | None:
        """The newest published chunk."""
        return self.sent[-1] if self.sent else None


def reset(asked: InferenceState) -> InferenceState:
    """No chunk requested yet; the measured delays are kept."""
    return InferenceState(delays=asked.delays)


def on_requested(asked: InferenceState, observation: Observation) -> InferenceState:
    """Inference of observation begins now."""
    return replace(asked, attempt=(observation.instruction, observation.obs_ns))


def on_unanswered(asked: InferenceState) -> InferenceState:
    """The last request got no answer: the next observation is inferred."""
    return replace(asked, attempt=None)


def on_published(asked: InferenceState, chunk: ActionChunk, now_ns: int) -> InferenceState:
    """A chunk was published."""
    return replace(asked, sent=(*asked.sent, chunk)[-SENT:], sent_ns=now_ns)


def on_accepted(
    asked: InferenceState, sequence: int, begin_ns: int, taken_ns: int
) -> tuple[InferenceState, bool]:
    """Control follows the chunk of this sequence; also returns whether that is new.

    begin_ns: when its row 0 is due. taken_ns: since when it is followed.
    """
    chunk = next((c for c in asked.sent if c.sequence == sequence), None)
    if chunk is None:  # of another policy, or of this one before a restart
        return not_executing(asked), False
    news = asked.executing is None or chunk is not asked.executing.chunk
    delays = measured(asked.delays, taken_ns - chunk.obs_ns) if news else asked.delays
    return replace(asked, executing=Executing(chunk, begin_ns, taken_ns), delays=delays), news


def not_executing(asked: InferenceState) -> InferenceState:
    """Control has no plan of ours."""
    return replace(asked, executing=None)


def look_again(asked: InferenceState, config: InferenceConfig, after_ns: int) -> InferenceState:
    """The next observation of after_ns or later is inferred, however recent the last inference."""
    if asked.attempt is None:
        return asked
    look_ns = after_ns - config.execute_rows * config.step_ns
    return replace(asked, attempt=(asked.attempt[0], look_ns), executing=None)


def should_infer(
    asked: InferenceState, config: InferenceConfig, observation: Observation, now_ns: int
) -> bool:
    """Whether to infer observation; False while the last chunk is still valid."""
    if asked.attempt is None:
        return True
    instruction, obs_ns = asked.attempt
    if instruction != observation.instruction or observation.obs_ns < obs_ns:
        return True  # another instruction, or the clock went back
    executing = asked.executing
    if executing is not None and asked.last is not executing.chunk:
        # The last chunk is on its way; without an acknowledgement in time it was refused.
        if SCHEMES[config.scheme].continues and now_ns - asked.sent_ns < HEARD_NS:
            return False
        executing = None
    look_ns = next_observation_ns(
        config.scheme,
        obs_ns,
        config.step_ns,
        config.execute_rows,
        executing=executing,
        delay_ns=asked.delays.expected_ns,
    )
    return observation.obs_ns >= look_ns


def continuation(
    asked: InferenceState,
    config: InferenceConfig,
    observation: Observation,
    *,
    rows: int,
    continues: bool,
) -> Continuation:
    """The part of the plan in execution that the next chunk continues, or by which it is chosen.

    rows: of a chunk of the policy. continues: whether the policy can continue a chunk.
    """
    executing = asked.executing
    if config.layout is None or executing is None or executing.chunk is not asked.last:
        return NOTHING
    if not (SCHEMES[config.scheme].continues and continues):
        same = executing.chunk.instruction == observation.instruction
        if config.options.candidates == 1 or not same:
            return NOTHING
        return plan_to_compare(executing, observation.obs_ns, config.layout)
    found = plan_continuation(
        executing,
        observation.obs_ns,
        delay_ns=asked.delays.expected_ns,
        rows=rows,
        execute_rows=config.execute_rows,
        layout=config.layout,
    )
    if executing.chunk.instruction == observation.instruction:
        return found
    if config.change == "flush":
        return NOTHING
    return replace(found, guidance_rows=found.frozen_rows)


def change(asked: InferenceState, config: InferenceConfig, observation: Observation) -> str:
    """Treatment of another instruction's plan, one of types.CHANGES; empty without such a plan."""
    last = asked.last
    changed = last is not None and last.instruction != observation.instruction
    return config.change if changed else ""
