"""One robot: its description, the file that it is read from, the consistency rules of that file."""

from vla_policy.embodiment.description import (
    ActionGroup,
    Camera,
    Embodiment,
    GroupLimits,
    Joints,
    Limits,
    Model,
    Output,
    PoseSource,
    Rates,
    View,
    Workspace,
)
from vla_policy.embodiment.load import load_embodiment
from vla_policy.paths import embodiment_names, find_embodiment

__all__ = [
    "ActionGroup",
    "Camera",
    "Embodiment",
    "GroupLimits",
    "Joints",
    "Limits",
    "Model",
    "Output",
    "PoseSource",
    "Rates",
    "View",
    "Workspace",
    "embodiment_names",
    "find_embodiment",
    "load_embodiment",
]
