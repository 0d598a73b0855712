"""`vla data convert`: bags, data sets and shards into another form; a second run continues."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vla_policy.data.conversion.bags import BagResult, Options, Tell, convert_bags
from vla_policy.data.conversion.set_upgrade import upgrade_set
from vla_policy.data.conversion.shard_sets import set_to_shards, shards_to_set
from vla_policy.data.conversion.sources import BAGS, SET, SHARDS, kind_of


def convert(
    sources: Sequence[Path],
    destination: Path,
    options: Options,
    *,
    to: str = SET,
    tell: Tell = lambda done, total: None,
) -> BagResult:
    """Convert sources, all of one kind, into destination. to: SET (v3.0) or SHARDS.

    Raises FileNotFoundError or ValueError for sources of an unknown kind or of several kinds, and
    as the conversion of their kind does.
    """
    kinds = {kind_of(source) for source in sources}
    if len(kinds) != 1:
        raise ValueError(f"got {', '.join(sorted(kinds))} together, expected sources of one kind")
    (kind,) = kinds
    if kind == BAGS and to == SET:
        return convert_bags(sources, destination, options, tell)
    if options.in_order is not None:
        raise ValueError(
            f"--ray: got {kind}, expected {BAGS}, which alone are converted beside each other"
        )
    if len(sources) > 1:
        raise ValueError(f"got {len(sources)} sources, expected one of {kind}")
    if kind == SET and to == SET:
        return upgrade_set(sources[0], destination, tell)
    if kind == SET:
        return set_to_shards(sources[0], destination, options, tell)
    if kind == SHARDS and to == SET:
        return shards_to_set(sources[0], destination, options, tell)
    raise ValueError(f"{sources[0]}: got {kind}, which are not converted to {to}")
