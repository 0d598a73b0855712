"""When a policy infers again, and which part of the plan its next chunk continues.

Shared by the policy process, where time passes, and by the simulation, where it is counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vla_policy.embodiment.layout import Layout
from vla_policy.execution.resampling import aligned
from vla_policy.execution.schemes import SCHEMES
from vla_policy.timing import due_ns
from vla_policy.types import ActionChunk

SETTLE_NS = 200_000_000  # after its last command an arm is at rest, also in its measurements


@dataclass(frozen=True, slots=True)
class Executing:
    """A chunk that control has accepted.

    begin_ns: when its row 0 is due. taken_ns: when accepted.
    """

    chunk: ActionChunk
    begin_ns: int
    taken_ns: int


@dataclass(frozen=True, slots=True)
class Continuation:
    """The chunk in execution, at the new observation, and how many of its rows a policy should continue."""

    previous: ActionChunk | None = None
    frozen_rows: int = 0
    guidance_rows: int = 0


NOTHING = Continuation()


def plan_continuation(
    executing: Executing | None,
    obs_ns: int,
    *,
    delay_ns: int | None,
    rows: int,
    execute_rows: int,
    layout: Layout,
) -> Continuation:
    """What the chunk of an observation at obs_ns continues, if it arrives after delay_ns.

    Frozen are the rows that will have begun when it arrives; the rest of the plan guides it up to
    row rows - execute_rows. rows: of a new chunk. delay_ns None: unknown, so nothing is continued.
    """
    if executing is None or delay_ns is None:
        return NOTHING
    plan = replace(executing.chunk, obs_ns=executing.begin_ns)
    previous = aligned(plan, obs_ns, layout)
    if previous is None:
        return NOTHING
    left = min(len(previous.actions), rows)
    frozen = min(
        left, -(-delay_ns // plan.step_ns)
    )  # rounded up: a row that has begun is executed
    return Continuation(previous, frozen, max(frozen, min(left, rows - execute_rows)))


def plan_to_compare(executing: Executing | None, obs_ns: int, layout: Layout) -> Continuation:
    """The rest of the plan at obs_ns, for a chunk that does not continue it but is chosen by it."""
    if executing is None:
        return NOTHING
    return Continuation(
        aligned(replace(executing.chunk, obs_ns=executing.begin_ns), obs_ns, layout)
    )


def truncated(chunk: ActionChunk, scheme: str, execute_rows: int) -> ActionChunk:
    """The rows of chunk to publish: all, or those executed in a scheme without overlap."""
    if not SCHEMES[scheme].whole:
        return chunk
    model_actions = chunk.model_actions
    if model_actions is not None:
        model_actions = model_actions[:execute_rows]
    return replace(chunk, actions=chunk.actions[:execute_rows], model_actions=model_actions)


def next_observation_ns(
    scheme: str,
    obs_ns: int,
    step_ns: int,
    execute_rows: int,
    *,
    executing: Executing | None,
    delay_ns: int | None,
) -> int:
    """The earliest observation for the next chunk, after one of an observation at obs_ns.

    In a scheme without overlap that is the end of the plan; if the policy is so slow that the arm
    comes to rest meanwhile, the moment when it has come to rest.
    """
    if not SCHEMES[scheme].whole or executing is None:
        return obs_ns + execute_rows * step_ns
    end_ns = due_ns(executing.begin_ns, step_ns, len(executing.chunk.actions))
    slow = delay_ns is not None and delay_ns >= step_ns
    return end_ns + (SETTLE_NS if slow else 0)


def replan_interval_rows(rows: int, asked: int = 0) -> int:
    """Rows between the observations of two chunks with this many rows; asked 0: half a chunk.

    The other half is executed while the next chunk is being computed.
    """
    return asked or max(1, rows // 2)


MEASURED_DELAYS = 10  # as in real-time chunking (arXiv:2506.07339)


@dataclass(frozen=True, slots=True)
class Delays:
    """The last delays from an observation until its chunk was accepted.

    warm_up: measurements still to be skipped; a network's first inference is slower.
    """

    last_ns: tuple[int, ...] = ()
    warm_up: int = 1

    @property
    def expected_ns(self) -> int | None:
        """The longest recent delay: rather too many frozen rows than too few. None: unknown."""
        return max(self.last_ns, default=None)


def measured(delays: Delays, delay_ns: int) -> Delays:
    """delays after one more measurement."""
    if delays.warm_up > 0:
        return replace(delays, warm_up=delays.warm_up - 1)
    return replace(delays, last_ns=(*delays.last_ns, delay_ns)[-MEASURED_DELAYS:])
