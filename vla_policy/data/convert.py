"""`vla data convert`: bags, data sets and shards into another form; a second run goes on where the first stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vla_policy.data.conversion.bags import Options, Outcome, Tell, convert_bags
from vla_policy.data.conversion.sources import BAGS, kind_of


def convert(
    sources: Sequence[Path],
    destination: Path,
    options: Options,
    tell: Tell = lambda done, total: None,
) -> Outcome:
    """Convert what stands at sources, all of one kind, into destination.

    Raises FileNotFoundError or ValueError for sources that are nothing known or of several kinds, and
    as the conversion of their kind does.
    """
    kinds = {kind_of(source) for source in sources}
    if len(kinds) != 1:
        raise ValueError(f"got {', '.join(sorted(kinds))} together, expected sources of one kind")
    if kinds == {BAGS}:
        return convert_bags(sources, destination, options, tell)
    raise ValueError(f"{sources[0]}: got a {kinds.pop()}, expected bags")
