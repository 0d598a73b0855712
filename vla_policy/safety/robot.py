"""A robot as the control path needs it: description, layout of its actions, collision model."""

from __future__ import annotations

from dataclasses import dataclass

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import JOINTS, POSE, Layout, layout_of
from vla_policy.safety.collisions import Bodies


@dataclass(frozen=True, slots=True)
class GuardedRobot:
    """A robot description, the parts of its actions and the model of its bodies, read once.

    speed_share: of the description's speed limits that is allowed, above 0, at most 1. Raises ValueError for another.
    """

    embodiment: Embodiment
    layout: Layout
    bodies: Bodies | None = None
    speed_share: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.speed_share <= 1.0:
            raise ValueError(
                f"speed_share: got {self.speed_share}, expected above 0 and at most 1"
            )


def robot_of(embodiment: Embodiment) -> GuardedRobot:
    """The robot of a description. Raises ValueError with every reason why it cannot be executed."""
    layout = layout_of(embodiment)
    tools = [part for part in layout.parts if part.kind in (JOINTS, POSE) or part.source]
    blind = [part.group for part in tools if part.kind == JOINTS]
    if embodiment.limits.keep_out and embodiment.model is None and (blind or not tools):
        raise ValueError(
            f"robot {embodiment.name!r}: limits.keep_out: got boxes that nothing would enforce for "
            f"{', '.join(blind) or 'a robot without an arm'}, expected a model, or arms that are "
            "commanded by the pose or velocity of their tools"
        )
    bodies = None if embodiment.model is None else Bodies(embodiment, layout)
    return GuardedRobot(embodiment, layout, bodies)
