"""The robot of a shipped name or file, refused if its description contradicts itself."""

from __future__ import annotations

from pathlib import Path

from vla_policy.embodiment.consistency import check_consistency
from vla_policy.embodiment.description import Embodiment
from vla_policy.embodiment.embodiment_file import read_embodiment_file
from vla_policy.embodiment.findings import errors
from vla_policy.paths import find_embodiment


def load_embodiment(name_or_path: str | Path) -> Embodiment:
    """The robot of a shipped name ('vx300s') or of a YAML file.

    Raises ValueError with the file, the key's line and path, what was got and what was expected;
    also for values that cannot be intended, such as limits in degrees (embodiment/consistency.py).
    """
    file = read_embodiment_file(find_embodiment(name_or_path))
    if wrong := errors(check_consistency(file)):
        raise ValueError("\n".join(map(str, wrong)))
    return file.robot
