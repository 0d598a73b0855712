"""Whether what an instruction names is there: several looks before it is followed, as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vla_policy.types import Reason

LOOKS = 3  # pictures in a row that must agree
MOST_LOOKS = 2 * LOOKS  # where none agree until then, it is not known


@dataclass(frozen=True, slots=True)
class Looking:
    """What the looks for an instruction said so far.

    taken: how many. in_a_row: of them the newest that agree, on missing or on nothing missing. newest_ns: of the last
    picture that was looked at. missing: why it is not followed, of the last look that missed something.
    """

    taken: int = 0
    in_a_row: int = 0
    seen: bool = False
    newest_ns: int | None = None
    missing: Reason | None = None

    @property
    def followed(self) -> bool:
        """All that is named is there."""
        return self.seen and self.in_a_row >= LOOKS

    @property
    def refusal(self) -> Reason | None:
        """Something that is named is not there, or that cannot be told."""
        if self.missing is None or self.followed:
            return None
        if not self.seen and self.in_a_row >= LOOKS:
            return self.missing
        if self.taken < MOST_LOOKS:
            return None
        detail = f"{self.missing.detail} in some of {self.taken} pictures"
        return replace(self.missing, detail=detail)


def looked(looking: Looking, missing: Reason | None, obs_ns: int) -> Looking:
    """Another look, at the picture of obs_ns. missing: what it did not see; None: it saw all."""
    seen = missing is None
    agrees = looking.taken > 0 and seen == looking.seen
    return Looking(
        taken=looking.taken + 1,
        in_a_row=looking.in_a_row + 1 if agrees else 1,
        seen=seen,
        newest_ns=obs_ns,
        missing=looking.missing if missing is None else missing,
    )


def is_new(looking: Looking, obs_ns: int) -> bool:
    """Whether the picture of obs_ns is another than the last that was looked at; a clock may go back."""
    return obs_ns != looking.newest_ns
