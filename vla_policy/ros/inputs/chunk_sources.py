"""Publishers of chunks: two policies, or two operators, at once are distinguished by the middleware's publisher ids."""

from __future__ import annotations

from vla_policy.types import Reason

APART_NS = 1_000_000_000  # two sources within this time are two; a restart takes longer


class ChunkSources:
    """When each source of one kind published last, by the node's clock. who: 'policies' or 'operators'."""

    def __init__(self, who: str = "policies") -> None:
        self._who = who
        self._heard_ns: dict[bytes, int] = {}

    def note(self, gid: bytes | None, now_ns: int) -> None:
        """A chunk came from gid; None where the middleware does not provide it."""
        if gid is not None:
            self._heard_ns[gid] = now_ns

    def conflict(self, now_ns: int, publishers: int) -> Reason | None:
        """The reason while two or more send chunks. publishers: their current number."""
        if publishers < 2 and len(self._heard_ns) > 1:
            newest = max(self._heard_ns, key=lambda gid: self._heard_ns[gid])
            self._heard_ns = {newest: self._heard_ns[newest]}
        self._heard_ns = {
            gid: heard_ns
            for gid, heard_ns in self._heard_ns.items()
            if 0 <= now_ns - heard_ns <= APART_NS
        }
        if len(self._heard_ns) < 2:
            return None
        detail = f"{len(self._heard_ns)} {self._who} send chunks at once; end all but one"
        return Reason(f"two_{self._who}", detail)
