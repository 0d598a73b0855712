"""Which of several chunks that were drawn for one observation is followed.

Source: backward coherence of bidirectional decoding (arXiv:2408.17355): the nearest to the plan, sooner rows
weighing more. Its forward contrast needs a second, weaker policy; without a plan the medoid is taken instead.
"""

from __future__ import annotations

import numpy as np

from vla_policy.types import Array

DECAY = 0.5  # of a row's weight to the next one's, as in the paper's code


def chosen(drawn: Array, plan: Array | None, known: Array | None = None) -> int:
    """Index of the chunk to follow; the first of equals.

    drawn: float64[candidates, rows, m] model actions, normalised, so that columns compare.
    plan: float64[t, m], what is being executed, row 0 beside row 0 of drawn; None: none, and the chunk with the least
    mean distance to all is taken. known: bool[m], the columns that plan determines; None: all.

    >>> up, down, far = np.full((2, 1), 1.0), np.full((2, 1), -1.0), np.full((2, 1), 3.0)
    >>> chosen(np.stack([far, up, down]), None), chosen(np.stack([far, up, down]), down[:1])
    (1, 2)
    """
    if plan is None:
        apart = np.linalg.norm(
            drawn[:, None] - drawn[None], axis=-1
        )  # [candidates, candidates, rows]
        return int(np.argmin(apart.mean(axis=(1, 2))))
    rows = min(len(plan), drawn.shape[1])
    columns = slice(None) if known is None else known
    apart = np.linalg.norm((drawn[:, :rows] - plan[:rows])[:, :, columns], axis=-1)
    return int(np.argmin(apart @ DECAY ** np.arange(rows)))
