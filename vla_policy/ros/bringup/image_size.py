"""Size of the images of a simulated robot: the policy's input size, so that none is enlarged."""

from __future__ import annotations

from vla_policy.parsing.json_document import read_json
from vla_policy.paths import find_policy, split_adapter
from vla_policy.sim.twin import IMAGE_PX

MAX_PX = 1024


def image_px_of(policy: str) -> int:
    """Side of the square images that a policy of this project uses, IMAGE_PX at least.

    IMAGE_PX for every other policy, also for a missing one: the policy node reports what is wrong.
    """
    try:
        folder = find_policy(split_adapter(policy)[0])
        config = read_json(folder / "config.json")
    except (OSError, ValueError):
        return IMAGE_PX
    contracts = config.get("contracts")
    listed = list(contracts.values()) if isinstance(contracts, dict) else [config.get("contract")]
    sides = [c.get("image_px") for c in listed if isinstance(c, dict)]
    return min(max([IMAGE_PX, *(px for px in sides if type(px) is int)]), MAX_PX)
