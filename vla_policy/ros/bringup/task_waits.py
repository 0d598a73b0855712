"""How long a task waits for a policy that has fallen silent: longer for one on another machine."""

from __future__ import annotations

from vla_policy.remote.address import is_remote

# A server that was restarted, or whose network was away, is back in it; the robot holds meanwhile.
SERVER_S = 15.0


def waits_for(policy: str) -> dict[str, float]:
    """Parameters of the task node that are not at their default for this policy.

    None for a policy file that cannot be read: the policy node reports what is wrong with it.
    """
    try:
        return {"chunk_gap_s": SERVER_S} if is_remote(policy) else {}
    except (OSError, ValueError):
        return {}
