"""One robot: its description, the file it is read from, the rules that file must keep."""

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
    "Workspace",
    "embodiment_names",
    "find_embodiment",
    "load_embodiment",
]
