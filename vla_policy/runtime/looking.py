"""Whether the objects that an instruction names are present, checked before it is followed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vla_policy.types import Reason

LOOKS = 3  # images in a row that must agree
MOST_LOOKS = 2 * LOOKS  # after this many without agreement the result is unknown


@dataclass(frozen=True, slots=True)
class Looking:
    """Results of the checks for an instruction so far.

    taken: number of checks. in_a_row: of the newest ones with the same result. newest_ns: of the
    last image that was checked. missing: the reason of the last check that missed an object.
    """

    taken: int = 0
    in_a_row: int = 0
    seen: bool = False
    newest_ns: int | None = None
    missing: Reason | None = None

    @property
    def followed(self) -> bool:
        """All named objects are present."""
        return self.seen and self.in_a_row >= LOOKS

    @property
    def refusal(self) -> Reason | None:
        """A named object is absent, or the images disagree."""
        if self.missing is None or self.followed:
            return None
        if not self.seen and self.in_a_row >= LOOKS:
            return self.missing
        if self.taken < MOST_LOOKS:
            return None
        detail = f"{self.missing.detail} in some of {self.taken} images"
        return replace(self.missing, detail=detail)


def looked(looking: Looking, missing: Reason | None, obs_ns: int) -> Looking:
    """Add a check of the image of obs_ns.

    missing: the objects it did not show; None: it showed all.
    """
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
    """Whether the image of obs_ns differs from the last one checked; a clock may go back."""
    return obs_ns != looking.newest_ns
