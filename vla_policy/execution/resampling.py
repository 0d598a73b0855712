"""The plan shifted to a later observation, for real-time chunking to continue."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vla_policy.embodiment.layout import GRIPPER, Layout
from vla_policy.execution.spline import curve, evaluate
from vla_policy.types import ActionChunk, Array


def aligned(chunk: ActionChunk, obs_ns: int, layout: Layout) -> ActionChunk | None:
    """The rest of chunk as a chunk of an observation at obs_ns; None if no rows are left.

    Its row k is the plan one step after obs_ns + k * step_ns, when a chunk of that observation
    reaches its own row k. chunk.obs_ns: when its row 0 was due. model_actions are those of the
    nearest row; values relative to an observation must be converted (Family.express).
    """
    rows = resampled(chunk, chunk.obs_ns, obs_ns, layout)
    if rows is None:
        return None
    model_actions = chunk.model_actions
    if model_actions is not None:
        first = round((obs_ns - chunk.obs_ns) / chunk.step_ns)
        model_actions = model_actions[first : first + len(rows)]
    return replace(chunk, actions=rows, obs_ns=obs_ns, model_actions=model_actions)


def resampled(chunk: ActionChunk, begin_ns: int, other_ns: int, layout: Layout) -> Array | None:
    """Rows float64[n, d] of chunk, whose row 0 is due at begin_ns, on the grid of other_ns.

    None if chunk has no row there, or begins later.
    """
    late = (other_ns - begin_ns) / chunk.step_ns
    count = int(np.floor(len(chunk.actions) - late + 1e-6))
    if late < 0.0 or count < 1:
        return None
    # The arm's position before row 0 does not matter: the grid begins at or after it.
    line = curve(chunk.actions[0], chunk.actions, layout)
    ends = late + 1.0 + np.arange(count)
    rows = evaluate(line, ends, layout)[0]
    # At the end of a row its own gripper value holds, not the next row's.
    pursued = np.ceil(ends - 1e-6).astype(int) - 1
    for part in layout.of_kind(GRIPPER):
        rows[:, part.columns] = chunk.actions[pursued, part.columns]
    return rows
